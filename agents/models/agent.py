"""Monitored agents as people set them up, and the names they report under."""

from __future__ import annotations

from django.core.validators import MinValueValidator, URLValidator
from django.db import models
from django.utils import timezone

from agents.domain import clocks
from teams.models import Project

# Pages link to it, so it must not be a script.
WEB_ADDRESS = URLValidator(schemes=["http", "https"])


class Status(models.TextChoices):
    """An agent's status, worst first. `LATE` is never stored, because it follows from the clock."""

    DOWN = "down", "down"
    STALLED = "stalled", "stalled"
    WARNING = "warning", "warning"
    LATE = "late", "late"
    WAITING = "waiting", "waiting"
    OK = "ok", "ok"
    NEW = "new", "new"
    STOPPED = "stopped", "stopped"
    PAUSED = "paused", "paused"


class RestartType(models.TextChoices):
    DOCKER = "docker", "Docker"
    SYSTEMD = "systemd", "systemd"
    LAUNCHD = "launchd", "launchd"
    PROCESS = "process", "process"
    K8S = "k8s", "Kubernetes"


class Agent(models.Model):
    """One monitored program, created by its first heartbeat. Holds settings; `AgentState` holds what is happening."""

    class Kind(models.TextChoices):
        AGENT = "agent", "agent: runs until stopped"
        JOB = "job", "job: ends on its own"

    class RestartPolicy(models.TextChoices):
        OFF = "off", "off: never restart"
        MANUAL = "manual", "manual: only on request"
        AUTO = "auto", "auto: restart automatically, within limits"

    project = models.ForeignKey(Project, models.CASCADE, related_name="agents")
    name = models.CharField(max_length=200)
    kind = models.CharField(max_length=10, choices=Kind.choices, default=Kind.AGENT)
    agent_type = models.CharField(max_length=50, blank=True, help_text="As reported by the client: openai, claude, …")
    # For whoever is woken by it: what it does, whose it is, and what to do.
    description = models.CharField(max_length=300, default="", blank=True)
    owner = models.CharField(max_length=200, default="", blank=True)
    runbook_url = models.CharField("runbook", max_length=500, default="", blank=True, validators=[WEB_ADDRESS])
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
        help_text="Seconds after the interval until the agent is down. Empty: the project's, else one interval.",
    )
    progress_timeout = models.FloatField(
        null=True,
        blank=True,
        validators=[MinValueValidator(5)],
        help_text="Seconds without progress until the agent is stalled. Empty: declared by the client, else learned.",
    )
    daily_budget_usd = models.DecimalField(max_digits=12, decimal_places=6, null=True, blank=True)
    daily_token_limit = models.PositiveBigIntegerField(null=True, blank=True)
    run_budget_usd = models.DecimalField(max_digits=12, decimal_places=6, null=True, blank=True)
    restart_policy = models.CharField(max_length=10, choices=RestartPolicy.choices, default=RestartPolicy.MANUAL)
    restart_type = models.CharField(max_length=10, choices=RestartType.choices, blank=True)
    restart_target = models.CharField(max_length=300, blank=True)
    unsafe_to_repeat = models.BooleanField(
        default=False, help_text="Not idempotent, as with payments: never restarted automatically."
    )
    rules = models.JSONField(default=dict, blank=True, help_text="Per rule: {'off': true} or thresholds.")
    paused_at = models.DateTimeField(null=True, editable=False)
    paused_by = models.CharField(max_length=255, default="", editable=False)
    paused_until = models.DateTimeField(null=True, editable=False, help_text="Empty: until somebody resumes it.")
    maintenance = models.ForeignKey(
        "Maintenance", models.SET_NULL, null=True, editable=False, related_name="agents", db_index=False
    )
    over_plan_at = models.DateTimeField(null=True, editable=False, help_text="Over the plan's agent limit since then.")
    resumed_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["project", "name"]
        constraints = [models.UniqueConstraint(fields=["project", "name"], name="agent_name_once_a_project")]
        indexes = [
            # For: SELECT … WHERE paused_until <= now, every second (`fleet/pauses.py`)
            models.Index(fields=["paused_until"], name="pause_ends", condition=models.Q(paused_until__isnull=False))
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_armed(self) -> bool:
        """Whether a person armed restarts: automatic ones, or by a target of their own. See `domain/pinning.py`."""
        return self.restart_policy == Agent.RestartPolicy.AUTO or bool(self.restart_type)

    @property
    def clock_settings(self) -> clocks.Settings:
        """What people set for its deadlines, including the project's default grace period."""
        return clocks.Settings(
            interval=self.interval,
            grace=self.grace if self.grace is not None else self.project.default_grace,
            progress_timeout=self.progress_timeout,
            resumed_at=self.resumed_at,
        )


class AgentName(models.Model):
    """Each name an agent reports under: its own and its aliases. Unique, so a name identifies one agent."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="+")
    name = models.CharField(max_length=200)
    agent = models.ForeignKey(Agent, models.CASCADE, related_name="names")
    # `ApiKey.line` of the key that owns the name; null: the next key that reports under it. See `ingest/bindings.py`.
    bound_to = models.BigIntegerField(null=True, editable=False)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["project", "name"], name="name_means_one_agent")]

    def __str__(self) -> str:
        return self.name
