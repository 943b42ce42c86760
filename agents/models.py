"""What happened and what it means: agents, their hot state, heartbeats, incidents, commands.

Money is kept in whole micro-dollars, times in UTC from the server's clock, durations in seconds.
"""

from __future__ import annotations

from typing import Any

from django.core.validators import MinValueValidator
from django.db import models
from django.utils import timezone

from agents import clocks, restart
from teams.models import Project


class Status(models.TextChoices):
    """What is shown of an agent, worst first. `LATE` is never stored: it follows from the clock."""

    DOWN = "down", "down"
    STALLED = "stalled", "stalled"
    WARNING = "warning", "warning"
    LATE = "late", "late"
    WAITING = "waiting", "waiting"
    OK = "ok", "ok"
    NEW = "new", "new"
    STOPPED = "stopped", "stopped"
    PAUSED = "paused", "paused"


class SignalKind(models.TextChoices):
    """One thing that is wrong."""

    MISSED_HEARTBEAT = "missed_heartbeat", "missed heartbeat"
    STALLED = "stalled", "stalled"
    LOOP = "loop", "loop"
    COST = "cost", "cost"
    ERROR = "error", "error"
    CRASH = "crash", "crash"
    MEMORY = "memory", "memory"
    RESTART_FAILED = "restart_failed", "restart failed"


class Severity(models.TextChoices):
    WARNING = "warning", "warning"
    CRITICAL = "critical", "critical"


class RestartType(models.TextChoices):
    DOCKER = "docker", "Docker"
    SYSTEMD = "systemd", "systemd"
    LAUNCHD = "launchd", "launchd"
    PROCESS = "process", "process"
    K8S = "k8s", "Kubernetes"


class Agent(models.Model):
    """One monitored thing, made by its first heartbeat. What a person set; what is happening is in `AgentState`."""

    class Kind(models.TextChoices):
        AGENT = "agent", "agent: runs until stopped"
        JOB = "job", "job: ends by itself"

    class RestartPolicy(models.TextChoices):
        OFF = "off", "off: never"
        MANUAL = "manual", "manual: when a person asks"
        AUTO = "auto", "auto: by itself, within the budget"

    project = models.ForeignKey(Project, models.CASCADE, related_name="agents")
    name = models.CharField(max_length=200)
    kind = models.CharField(max_length=10, choices=Kind.choices, default=Kind.AGENT)
    agent_type = models.CharField(max_length=50, blank=True, help_text="What the client said it is: openai, claude, …")
    labels = models.JSONField(default=dict, blank=True)
    interval = models.FloatField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Seconds between heartbeats. Empty: declared by the client, else learned, else 60.",
    )
    grace = models.FloatField(
        null=True,
        blank=True,
        validators=[MinValueValidator(5)],
        help_text="Seconds past the interval before the agent counts as down. Empty: the project's, else one interval.",
    )
    progress_timeout = models.FloatField(
        null=True,
        blank=True,
        validators=[MinValueValidator(5)],
        help_text="Seconds without progress before the agent counts as stalled. Empty: declared, else learned.",
    )
    daily_budget_usd = models.DecimalField(max_digits=12, decimal_places=6, null=True, blank=True)
    daily_token_limit = models.PositiveBigIntegerField(null=True, blank=True)
    run_budget_usd = models.DecimalField(max_digits=12, decimal_places=6, null=True, blank=True)
    restart_policy = models.CharField(max_length=10, choices=RestartPolicy.choices, default=RestartPolicy.MANUAL)
    restart_type = models.CharField(max_length=10, choices=RestartType.choices, blank=True)
    restart_target = models.CharField(max_length=300, blank=True)
    unsafe_to_repeat = models.BooleanField(
        default=False, help_text="Its work must not be done twice, as with payments: only a person restarts it."
    )
    rules = models.JSONField(default=dict, blank=True, help_text="Per rule: {'off': true} or thresholds.")
    paused_at = models.DateTimeField(null=True, editable=False)
    maintenance = models.ForeignKey(
        "Maintenance", models.SET_NULL, null=True, editable=False, related_name="agents", db_index=False
    )
    over_plan_at = models.DateTimeField(null=True, editable=False, help_text="Since then the plan has no place for it.")
    resumed_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["project", "name"]
        constraints = [models.UniqueConstraint(fields=["project", "name"], name="agent_name_once_a_project")]

    def __str__(self) -> str:
        return self.name

    @property
    def clock_settings(self) -> clocks.Settings:
        """What people set of its clocks, its project's default included."""
        grace = self.grace if self.grace is not None else self.project.default_grace
        return clocks.Settings(self.interval, grace, self.progress_timeout, self.resumed_at)


class Maintenance(models.Model):
    """A time in which a project's agents are left alone, as people planned it; see `maintenance.py`."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="maintenances")
    reason = models.CharField(max_length=200, help_text="What is done: people read it on the agents' pages.")
    starts_at = models.DateTimeField("from")
    ends_at = models.DateTimeField("until")
    labels = models.JSONField(
        default=dict,
        blank=True,
        help_text='Only agents that have all these labels, e.g. {"host": "worker-3"}. Empty: all of the project.',
    )
    # By name, for then one that is deleted leaves no list that is empty and so means all.
    agent_names = models.JSONField(
        "agents", default=list, blank=True, help_text="Only these. Empty: all of the project."
    )
    created_by = models.CharField(max_length=255, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    opened_at = models.DateTimeField(null=True, editable=False)
    closed_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["-starts_at", "-id"]
        verbose_name = "maintenance window"
        indexes = [models.Index(fields=["starts_at"], name="maintenance_due", condition=models.Q(closed_at=None))]

    def __str__(self) -> str:
        return f"{self.project}: {self.reason}"


class AgentName(models.Model):
    """Every name an agent reports under: its own and its aliases. One row is one name, so a name means one agent."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="+")
    name = models.CharField(max_length=200)
    agent = models.ForeignKey(Agent, models.CASCADE, related_name="names")

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["project", "name"], name="name_means_one_agent")]

    def __str__(self) -> str:
        return self.name


class AgentState(models.Model):
    """The hot row: what every heartbeat changes. Narrow, and no index but its key and `check_at`.

    A heartbeat leaves `check_at` alone unless there is something to conclude, so that its update is heap-only on
    PostgreSQL; the sweep meets the row at the old, earlier time and moves it.
    """

    agent = models.OneToOneField(Agent, models.CASCADE, primary_key=True, related_name="state")
    # When the review must look again; null: nothing to wait for.
    check_at = models.DateTimeField(null=True)
    # Both clocks
    beats = models.BigIntegerField(default=0)
    last_beat_at = models.DateTimeField(null=True)
    last_progress_at = models.DateTimeField(null=True)
    usual_gap = models.FloatField(null=True)
    # Learned by the review: seconds without progress that are unusual, and until when it may start or rest.
    learned_progress_timeout = models.FloatField(null=True)
    quiet_until = models.DateTimeField(null=True)
    declared_interval = models.FloatField(null=True)
    declared_progress_timeout = models.FloatField(null=True)
    waiting_for = models.CharField(max_length=100, default="")
    waiting_until = models.DateTimeField(null=True)
    # What the last heartbeat said
    reported = models.CharField(max_length=10, default="")
    crashed = models.BooleanField(default=False)
    iteration = models.BigIntegerField(null=True)
    message_hash = models.BigIntegerField(null=True)
    prompts_hash = models.BigIntegerField(null=True)
    calls_hash = models.BigIntegerField(null=True)
    memory_mb = models.FloatField(null=True)
    instance = models.CharField(max_length=64, default="")
    # The last body with sums, when it came, how long it took to store: an old client sends it again after 5 s without
    # an answer.
    body_hash = models.BigIntegerField(null=True)
    body_at = models.DateTimeField(null=True)
    stored_after = models.FloatField(default=0)
    # Money in micro-dollars: `cost` is what counts, `priced` the part of it that the server priced; the rest was
    # claimed. `unpriced` are tokens that nobody knows the price of. Today and this month are the project's.
    day = models.DateField(null=True)
    tokens_today = models.BigIntegerField(default=0)
    cost_today = models.BigIntegerField(default=0)
    priced_today = models.BigIntegerField(default=0)
    unpriced: models.JSONField[Any, Any] = models.JSONField(null=True, help_text="Today's tokens by model.")
    cost_limit = models.BigIntegerField(null=True, help_text="micro-dollars a day, as declared by the client")
    month = models.DateField(null=True, help_text="Its first day.")
    tokens_month = models.BigIntegerField(default=0)
    cost_month = models.BigIntegerField(default=0)
    priced_month = models.BigIntegerField(default=0)
    unpriced_month = models.BigIntegerField(default=0)
    # Ever
    tokens_total = models.BigIntegerField(default=0)
    cost_total = models.BigIntegerField(default=0)
    priced_total = models.BigIntegerField(default=0)
    unpriced_total = models.BigIntegerField(default=0)
    # Since the client was last started
    run_at = models.DateTimeField(null=True)
    run_cost = models.BigIntegerField(default=0)
    run_priced = models.BigIntegerField(default=0)
    run_unpriced = models.BigIntegerField(default=0)
    # Who reports it, and how it can be restarted
    source = models.CharField(max_length=80, default="")
    runner = models.CharField(max_length=80, default="")
    runner_down = models.BooleanField(default=False)
    held = models.BooleanField(default=False, help_text="A person stopped it: nothing automatic starts it again.")
    restart_type = models.CharField(max_length=10, default="")
    restart_target = models.CharField(max_length=300, default="")
    # What the review concluded
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.NEW)
    incident: models.ForeignKey[Incident | None, Incident | None] = models.ForeignKey(
        "Incident", models.SET_NULL, null=True, db_index=False, related_name="+", db_constraint=False
    )
    incident_kind = models.CharField(max_length=20, default="")
    # Warnings that stand, as [["INCIDENT:KIND:SIGNAL", reason], …]; `warned` holds the keys this client was told.
    warnings: models.JSONField[Any, Any] = models.JSONField(null=True)
    warned = models.CharField(max_length=300, default="")
    hold = models.BooleanField(default=False)
    # Budgets that a person let pass, by name: see `budgets.py`.
    lifted: models.JSONField[Any, Any] = models.JSONField(null=True)

    class Meta:
        indexes = [
            # For: SELECT … WHERE check_at <= now ORDER BY check_at (the sweep)
            models.Index(fields=["check_at"], name="state_due", condition=models.Q(check_at__isnull=False))
        ]

    def __str__(self) -> str:
        return f"state of agent {self.agent_id}"

    @property
    def knows_tokens(self) -> bool:
        """Whether it ever reported any. If not, they are not 0 but unknown."""
        return self.tokens_total > 0

    @property
    def knows_cost(self) -> bool:
        """Whether it ever reported a cost, or tokens of a known price."""
        return self.cost_total > 0 or self.tokens_total > self.unpriced_total


class AgentMemory(models.Model):
    """What the rules remember of an agent between reviews, and up to which heartbeat they have read."""

    agent = models.OneToOneField(Agent, models.CASCADE, primary_key=True, related_name="memory")
    read_to = models.BigIntegerField(default=0)
    rules = models.JSONField(default=dict)

    def __str__(self) -> str:
        return f"memory of agent {self.agent_id}"


class Heartbeat(models.Model):
    """One report, append-only; partitioned by `day` (UTC) on PostgreSQL. Numbers are typed, contents are one JSON."""

    agent = models.ForeignKey(Agent, models.CASCADE, related_name="heartbeats", db_constraint=False, db_index=False)
    day = models.DateField()
    received_at = models.DateTimeField()
    spent_at = models.DateTimeField(
        default=timezone.now, help_text="When it was sent, by the client’s clock as far as that can be true."
    )
    beat_id = models.CharField(max_length=64, null=True)  # noqa: DJ001 - null is "has none", outside the unique index
    status = models.CharField(max_length=10)
    progress = models.BooleanField(default=False)
    tokens = models.BigIntegerField(default=0)
    cost = models.BigIntegerField(default=0, help_text="micro-dollars that count")
    priced = models.BigIntegerField(default=0, help_text="micro-dollars of them that the server priced")
    unpriced = models.BigIntegerField(default=0, help_text="tokens that nobody knows the price of")
    tool_calls = models.IntegerField(default=0)
    iteration = models.BigIntegerField(null=True)
    memory_mb = models.FloatField(null=True)
    content: models.JSONField[Any, Any] = models.JSONField(null=True)
    answer: models.JSONField[Any, Any] = models.JSONField(null=True, help_text="What was answered, when not plain ok.")

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["agent", "beat_id", "day"], name="beat_once", condition=models.Q(beat_id__isnull=False)
            )
        ]
        indexes = [models.Index(fields=["agent", "id"], name="beats_of_an_agent")]

    def __str__(self) -> str:
        return f"heartbeat {self.pk}"


class Rollup(models.Model):
    """Sums of an agent's heartbeats over a minute, an hour or a day (UTC) in which they were sent, for charts."""

    class Span(models.TextChoices):
        MINUTE = "m", "minute"
        HOUR = "h", "hour"
        DAY = "d", "day"

    agent = models.ForeignKey(Agent, models.CASCADE, related_name="rollups", db_index=False)
    span = models.CharField(max_length=1, choices=Span.choices)
    start = models.DateTimeField()
    beats = models.IntegerField(default=0)
    errors = models.IntegerField(default=0)
    progress = models.IntegerField(default=0)
    tokens = models.BigIntegerField(default=0)
    cost = models.BigIntegerField(default=0, help_text="micro-dollars")
    priced = models.BigIntegerField(default=0, help_text="micro-dollars of them that the server priced")
    unpriced = models.BigIntegerField(default=0, help_text="tokens that nobody knows the price of")
    tool_calls = models.IntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["agent", "span", "start"], name="one_rollup_a_span")]
        # For what is asked of all agents: bringing sums up to date, forgetting, the pages of plans and of the operator.
        indexes = [models.Index(fields=["span", "start"], name="rollups_of_a_span")]

    def __str__(self) -> str:
        return f"{self.span} {self.start}"


class MonthSpend(models.Model):
    """A project's month: what agents that were deleted since had spent in it, and how its budget stood when last seen.

    Money is micro-dollars. What the other agents spent is in their hot rows.
    """

    project = models.ForeignKey(Project, models.CASCADE, related_name="months")
    month = models.DateField(help_text="Its first day.")
    tokens = models.BigIntegerField(default=0)
    cost = models.BigIntegerField(default=0)
    priced = models.BigIntegerField(default=0)
    unpriced = models.BigIntegerField(default=0)
    level = models.CharField(max_length=60, default="")

    class Meta:
        ordering = ["project", "-month"]
        constraints = [models.UniqueConstraint(fields=["project", "month"], name="one_month_a_project")]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}"


class Pulse(models.Model):
    """When a part of the watchdog last ran: `detector`, `rollup`, or `edge` for the web processes."""

    name = models.CharField(max_length=20, primary_key=True)
    at = models.DateTimeField()
    read_to = models.BigIntegerField(default=0, help_text="Of `rollup`: all heartbeats up to this id are rolled up.")

    def __str__(self) -> str:
        return self.name


class Outage(models.Model):
    """A time in which the watchdog itself did not watch. Deadlines are moved by it; nobody is blamed for it."""

    part = models.CharField(max_length=20)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ["-ended_at"]

    def __str__(self) -> str:
        return f"{self.part} {self.started_at} – {self.ended_at}"


class IncidentQuerySet(models.QuerySet["Incident"]):
    def open(self) -> IncidentQuerySet:
        return self.filter(resolved_at__isnull=True)


class Incident(models.Model):
    """One episode, usually of one agent; when a host falls silent, its other agents join with signals of their own."""

    class State(models.TextChoices):
        OPEN = "open", "open"
        ACKNOWLEDGED = "acknowledged", "acknowledged"
        RESOLVED = "resolved", "resolved"

    SPEND = ("cost", "priced", "unpriced")
    SPEND_BEFORE = ("cost_before", "priced_before", "unpriced_before")

    project = models.ForeignKey(Project, models.CASCADE, related_name="incidents")
    agent = models.ForeignKey(Agent, models.CASCADE, related_name="incidents")
    kind = models.CharField(max_length=20, choices=SignalKind.choices)
    severity = models.CharField(max_length=10, choices=Severity.choices)
    reason = models.CharField(max_length=500)
    together = models.BooleanField(default=False, help_text="A host, a runner or the network, not one agent.")
    started_at = models.DateTimeField(help_text="When it became wrong, e.g. when the beat was due.")
    opened_at = models.DateTimeField(help_text="When it was noticed.")
    acknowledged_at = models.DateTimeField(null=True)
    acknowledged_by = models.CharField(max_length=255, default="", blank=True)
    resolved_at = models.DateTimeField(null=True)
    muted_at = models.DateTimeField(null=True)
    resolved_by = models.CharField(max_length=255, default="", blank=True)
    reopened = models.SmallIntegerField(default=0, help_text="How often it came back soon after its recovery.")
    # The agent's spend ever when it began, and what was spent during it: see `AgentState`.
    cost_before = models.BigIntegerField(default=0)
    priced_before = models.BigIntegerField(default=0)
    unpriced_before = models.BigIntegerField(default=0)
    cost = models.BigIntegerField(default=0)
    priced = models.BigIntegerField(default=0)
    unpriced = models.BigIntegerField(default=0)
    restarts = models.SmallIntegerField(default=0, help_text="Restarts that were handed to a runner.")
    restarted_at = models.DateTimeField(null=True, help_text="When the last one was, unless it failed.")
    recovered_in = models.FloatField(null=True, help_text="Seconds from then to the progress that proved it.")

    objects = IncidentQuerySet.as_manager()

    class Meta:
        ordering = ["-opened_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["agent"], name="one_open_incident_an_agent", condition=models.Q(resolved_at__isnull=True)
            )
        ]
        indexes = [models.Index(fields=["project", "-opened_at"], name="incidents_newest_first")]

    def __str__(self) -> str:
        return f"#{self.pk} {self.agent}: {self.get_kind_display()}"

    @property
    def state(self) -> str:
        if self.resolved_at:
            return self.State.RESOLVED
        return self.State.ACKNOWLEDGED if self.acknowledged_at else self.State.OPEN

    @property
    def spent(self) -> int:
        """Micro-dollars spent during it, up to now while it lasts. Reads `agent.state`: fetch it ahead."""
        return self._during("cost")

    @property
    def spent_priced(self) -> int:
        """The part of `spent` that the server priced; the rest was claimed."""
        return self._during("priced")

    @property
    def spent_unpriced(self) -> int:
        """Tokens used during it that nobody knows the price of."""
        return self._during("unpriced")

    def _during(self, what: str) -> int:
        known: int = getattr(self, what)
        if self.resolved_at:
            return known
        so_far: int = getattr(self.agent.state, f"{what}_total") - getattr(self, f"{what}_before")
        return max(known, so_far)

    def begin_spend(self, state: AgentState) -> None:
        """From here on its money is counted."""
        for what in self.SPEND:
            setattr(self, f"{what}_before", getattr(state, f"{what}_total"))

    def count_spend(self, state: AgentState) -> None:
        """Note what was spent during it until now."""
        for what in self.SPEND:
            setattr(self, what, max(0, getattr(state, f"{what}_total") - getattr(self, f"{what}_before")))

    @property
    def noticed_after(self) -> int:
        """Seconds from when it became wrong until somebody knew."""
        return int((self.opened_at - self.started_at).total_seconds())

    @property
    def time_to_recovery(self) -> float | None:
        """Seconds from when it became wrong to its end; None while it lasts."""
        return (self.resolved_at - self.started_at).total_seconds() if self.resolved_at else None


class Signal(models.Model):
    """One thing that is wrong with one agent, with its evidence, within an incident."""

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
        return f"{self.get_kind_display()}: {self.reason}"


class IncidentEvent(models.Model):
    """One line of an incident's timeline, written with the change itself. Deliveries hang on it."""

    class Kind(models.TextChoices):
        OPENED = "opened", "opened"
        UPDATED = "updated", "new signal"
        REOPENED = "reopened", "came back"
        ACKNOWLEDGED = "acknowledged", "acknowledged"
        RESOLVED = "resolved", "resolved"
        COMMAND = "command", "command"
        NOTE = "note", "note"

    incident = models.ForeignKey(Incident, models.CASCADE, related_name="events")
    kind = models.CharField(max_length=15, choices=Kind.choices)
    at = models.DateTimeField(default=timezone.now)
    actor = models.CharField(max_length=255, default="watchdog")
    text = models.CharField(max_length=500)
    data = models.JSONField(default=dict)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.text

    @property
    def headline(self) -> str:
        """What happened, in a word or two: of what was added, whether it is new or the same, and worse."""
        if self.kind != self.Kind.UPDATED or "signal" not in self.data:
            return self.get_kind_display()
        return "critical now" if self.data.get("rose") else f"new signal: {SignalKind(self.data['signal']).label}"


class Runner(models.Model):
    """A local program that asks for commands, told by its source (see `sources.py`)."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="runners")
    source = models.CharField(max_length=80)
    polled_at = models.DateTimeField(help_text="When it last asked, to within half a minute.")

    class Meta:
        ordering = ["project", "source"]
        constraints = [models.UniqueConstraint(fields=["project", "source"], name="runner_once_a_project")]

    def __str__(self) -> str:
        return self.source


class Command(models.Model):
    """Restart or stop, for a runner: handed out once, void after a few minutes."""

    class Action(models.TextChoices):
        RESTART = "restart", "restart"
        STOP = "stop", "stop"

    class State(models.TextChoices):
        PENDING = "pending", "waiting for the runner"
        LEASED = "leased", "handed to the runner"
        COMPLETED = "completed", "completed"
        FAILED = "failed", "failed"
        REJECTED = "rejected", "rejected"
        EXPIRED = "expired", "expired"

    class Origin(models.TextChoices):
        PERSON = restart.PERSON, "a person"
        RUNNER = restart.RUNNER, "the runner by itself"
        WATCHDOG = restart.WATCHDOG, "the watchdog by itself"

    LIVE = (State.PENDING, State.LEASED)

    agent = models.ForeignKey(Agent, models.CASCADE, related_name="commands")
    incident = models.ForeignKey(Incident, models.SET_NULL, null=True, related_name="commands")
    action = models.CharField(max_length=10, choices=Action.choices)
    type = models.CharField(max_length=10, choices=RestartType.choices)
    target = models.CharField(max_length=300)
    runner = models.CharField(max_length=80, blank=True, help_text="Which runner last reported the target.")
    refused_by = models.JSONField(default=list, help_text="Runners that said that the target is not theirs.")
    state = models.CharField(max_length=10, choices=State.choices, default=State.PENDING)
    origin = models.CharField(max_length=10, choices=Origin.choices, default=Origin.PERSON)
    requested_by = models.CharField(max_length=255)
    reason = models.CharField(max_length=300, default="", blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    evidence_at = models.DateTimeField(null=True, help_text="When the agent was seen to be in need of it.")
    expires_at = models.DateTimeField()
    leased_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    result = models.CharField(max_length=500, default="", blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["agent"], name="one_live_command_an_agent", condition=models.Q(state__in=["pending", "leased"])
            )
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.type}:{self.target}"
