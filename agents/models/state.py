"""What is happening to an agent: its hot row, and what the rules remember of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models

from agents.models.agent import Agent, Status

if TYPE_CHECKING:
    from agents.models.incident import Incident


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
