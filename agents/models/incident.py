"""Incidents, their signals and their timeline."""

from __future__ import annotations

from typing import Protocol

from django.db import models
from django.utils import timezone

from agents.models.agent import Agent
from teams.actors import WATCHDOG
from teams.models import Project


class SpendTotals(Protocol):
    """The spend columns of `AgentState`: micro-dollars, and tokens without a known price."""

    agent_id: int
    cost_total: int
    priced_total: int
    unpriced_total: int


class SignalKind(models.TextChoices):
    """What kind of thing is wrong."""

    MISSED_HEARTBEAT = "missed_heartbeat", "missed heartbeat"
    STALLED = "stalled", "stalled"
    LOOP = "loop", "loop"
    COST = "cost", "budget exceeded"
    ERROR = "error", "error"
    CRASH = "crash", "crash"
    MEMORY = "memory", "memory growth"
    RESTART_FAILED = "restart_failed", "restart failed"
    DID_NOT_START = "did_not_start", "did not start"
    TOOK_TOO_LONG = "took_too_long", "took too long"
    JOB_FAILED = "job_failed", "job failed"
    RAN_TOO_OFTEN = "ran_too_often", "ran too often"


class Severity(models.TextChoices):
    WARNING = "warning", "warning"
    CRITICAL = "critical", "critical"


class IncidentQuerySet(models.QuerySet["Incident"]):
    def open(self) -> IncidentQuerySet:
        return self.filter(resolved_at__isnull=True)


def kind_label(kind: str, severity: str) -> str:
    """What people read for a kind. Most of a budget being spent is only a warning, and an error is critical only when
    a runner says that the process is not running."""
    if kind == SignalKind.COST and severity == Severity.WARNING:
        return "budget warning"
    if kind == SignalKind.ERROR and severity == Severity.CRITICAL:
        return "not running"
    return str(SignalKind(kind).label)


class Incident(models.Model):
    """One episode of trouble, usually of one agent. When a host falls silent, its agents share an incident."""

    class State(models.TextChoices):
        OPEN = "open", "open"
        ACKNOWLEDGED = "acknowledged", "acknowledged"
        RESOLVED = "resolved", "resolved"

    class Outcome(models.TextChoices):
        """How it ended. Nothing but a recovery may be called one."""

        RECOVERED = "recovered", "recovered"
        STOPPED = "stopped", "agent stopped"
        PAUSED = "paused", "monitoring paused"
        MAINTENANCE = "maintenance", "maintenance started"
        OVER_PLAN = "over_plan", "no longer monitored: over the plan’s agent limit"
        WITHIN_BUDGET = "within_budget", "within the budget again"
        RESOLVED = "resolved", "resolved"

    SPEND = ("cost", "priced", "unpriced")
    SPEND_BEFORE = ("cost_before", "priced_before", "unpriced_before")

    project = models.ForeignKey(Project, models.CASCADE, related_name="incidents")
    agent = models.ForeignKey(Agent, models.CASCADE, related_name="incidents")
    kind = models.CharField(max_length=20, choices=SignalKind.choices)
    severity = models.CharField(max_length=10, choices=Severity.choices)
    reason = models.CharField(max_length=500)
    together = models.BooleanField(
        default=False, help_text="Caused by a host, a runner or the network, not by one agent."
    )
    started_at = models.DateTimeField(help_text="When the problem began, e.g. when the heartbeat was due.")
    opened_at = models.DateTimeField(help_text="When it was detected.")
    acknowledged_at = models.DateTimeField(null=True)
    acknowledged_by = models.CharField(max_length=255, default="", blank=True)
    resolved_at = models.DateTimeField(null=True)
    muted_at = models.DateTimeField(null=True)
    snoozed_until = models.DateTimeField(null=True)
    resolved_by = models.CharField(max_length=255, default="", blank=True)
    outcome = models.CharField(max_length=15, choices=Outcome.choices, default="", blank=True)
    reopened = models.SmallIntegerField(default=0, help_text="How often it was reopened soon after its recovery.")
    # The agent's total spend when the incident began, and the spend during it; see `AgentState`.
    cost_before = models.BigIntegerField(default=0)
    priced_before = models.BigIntegerField(default=0)
    unpriced_before = models.BigIntegerField(default=0)
    cost = models.BigIntegerField(default=0)
    priced = models.BigIntegerField(default=0)
    unpriced = models.BigIntegerField(default=0)
    restarts = models.SmallIntegerField(default=0, help_text="Restarts that were handed to a runner.")
    restarted_at = models.DateTimeField(null=True, help_text="When the last restart was, unless it failed.")
    recovered_in = models.FloatField(null=True, help_text="Seconds from the restart to the progress that proved it.")

    # Its own agent's signals of its kind, see `naming_signals`. Without a value: with one, Django would not fetch them.
    named_after: list[Signal]

    objects = IncidentQuerySet.as_manager()

    class Meta:
        ordering = ["-opened_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["agent"], name="one_open_incident_an_agent", condition=models.Q(resolved_at__isnull=True)
            )
        ]
        indexes = [
            models.Index(fields=["project", "-opened_at"], name="incidents_newest_first"),
            models.Index(
                fields=["snoozed_until"], name="incidents_snoozed", condition=models.Q(snoozed_until__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"#{self.pk} {self.agent}: {self.kind_label}"

    @property
    def state(self) -> str:
        if self.resolved_at:
            return self.State.RESOLVED
        return self.State.ACKNOWLEDGED if self.acknowledged_at else self.State.OPEN

    @property
    def ending(self) -> str:
        """`recovered`, `recovered after a restart`, `monitoring paused by ann@example.com`; empty while it is open."""
        if not self.resolved_at:
            return ""
        text = str(self.Outcome(self.outcome or self._likely_outcome).label)
        if self.recovered_in is not None and self.outcome == self.Outcome.RECOVERED:
            text += " after a restart"
        return text if self.resolved_by in ("", WATCHDOG) else f"{text} by {self.resolved_by}"

    @property
    def _likely_outcome(self) -> Incident.Outcome:
        """Of an incident from before outcomes were stored."""
        return self.Outcome.RECOVERED if self.resolved_by == WATCHDOG else self.Outcome.RESOLVED

    @property
    def spent(self) -> int:
        """Micro-dollars spent during the incident so far. Reads `agent.state`: use select_related."""
        return self._during("cost")

    @property
    def spent_priced(self) -> int:
        """The part of `spent` that the server priced; the rest was reported."""
        return self._during("priced")

    @property
    def spent_unpriced(self) -> int:
        """Tokens without a known price that were used during the incident."""
        return self._during("unpriced")

    def _during(self, name: str) -> int:
        known: int = getattr(self, name)
        if self.resolved_at:
            return known
        so_far: int = getattr(self.agent.state, f"{name}_total") - getattr(self, f"{name}_before")
        return max(known, so_far)

    def begin_spend(self, state: SpendTotals) -> None:
        """Start counting the spend of the incident's agent from now on."""
        for name in self.SPEND:
            setattr(self, f"{name}_before", getattr(state, f"{name}_total"))
            setattr(self, name, 0)

    def count_spend(self, state: SpendTotals) -> None:
        """Store what the incident's agent has spent during it; rows of other agents in the incident are ignored."""
        if state.agent_id != self.agent_id:
            return
        for name in self.SPEND:
            setattr(self, name, max(0, getattr(state, f"{name}_total") - getattr(self, f"{name}_before")))

    @property
    def kind_label(self) -> str:
        """The label of the signal it is named after: another signal may have made the incident critical. Needs a query
        unless it was fetched with `naming_signals`."""
        if not hasattr(self, "named_after"):
            self.named_after = list(_naming().filter(incident=self))
        return kind_label(self.kind, self.named_after[-1].severity if self.named_after else self.severity)

    @property
    def noticed_after(self) -> int:
        """Seconds from the start of the problem to its detection."""
        return int((self.opened_at - self.started_at).total_seconds())

    @property
    def time_to_recovery(self) -> float | None:
        """Seconds from the start of the problem to recovery; None while it is open."""
        return (self.resolved_at - self.started_at).total_seconds() if self.resolved_at else None


class Signal(models.Model):
    """One thing that is wrong with one agent, as part of an incident."""

    incident = models.ForeignKey(Incident, models.CASCADE, related_name="signals")
    agent = models.ForeignKey(Agent, models.CASCADE, related_name="signals")
    kind = models.CharField(max_length=20, choices=SignalKind.choices)
    severity = models.CharField(max_length=10, choices=Severity.choices)
    reason = models.CharField(max_length=500)
    evidence = models.JSONField(default=dict)
    started_at = models.DateTimeField()
    opened_at = models.DateTimeField()
    cleared_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["agent", "kind"], name="one_open_signal_a_kind", condition=models.Q(cleared_at__isnull=True)
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind_label}: {self.reason}"

    @property
    def kind_label(self) -> str:
        return kind_label(self.kind, self.severity)


def _naming() -> models.QuerySet[Signal]:
    """Each incident's signals of its own agent and kind: a shared incident has thousands of others."""
    return Signal.objects.filter(agent=models.F("incident__agent"), kind=models.F("incident__kind"))


def naming_signals() -> models.Prefetch[str, models.QuerySet[Signal], str]:
    """What `kind_label` reads, for a whole list of incidents at once."""
    return models.Prefetch("signals", queryset=_naming(), to_attr="named_after")


class IncidentEvent(models.Model):
    """One timeline entry, written in the same transaction as the change. Notifications refer to it."""

    class Kind(models.TextChoices):
        OPENED = "opened", "opened"
        UPDATED = "updated", "new signal"
        REOPENED = "reopened", "came back"
        ACKNOWLEDGED = "acknowledged", "acknowledged"
        RESOLVED = "resolved", "resolved"
        REMINDER = "reminder", "reminder"
        ESCALATED = "escalated", "escalated"
        COMMAND = "command", "command"
        NOTE = "note", "note"

    incident = models.ForeignKey(Incident, models.CASCADE, related_name="events")
    kind = models.CharField(max_length=15, choices=Kind.choices)
    at = models.DateTimeField(default=timezone.now)
    actor = models.CharField(max_length=255, default=WATCHDOG)
    text = models.CharField(max_length=500)
    data = models.JSONField(default=dict)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.text

    @property
    def names_actor(self) -> bool:
        """Whether the text says who did it: `Muted by ada@example.com`."""
        return self.text.endswith(f" by {self.actor}")

    @property
    def headline(self) -> str:
        """What happened, in a few words; for updates, whether a signal is new or became critical."""
        if self.kind != self.Kind.UPDATED or "signal" not in self.data:
            return self.get_kind_display()
        if self.data.get("rose"):
            return "became critical"
        # Events from before the severity was stored have none.
        return f"new signal: {kind_label(self.data['signal'], self.data.get('severity', ''))}"
