"""What is happening to an agent: its hot row, and the state its rules keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models.functions import Now

from agents.models.agent import Agent, Status

if TYPE_CHECKING:
    from agents.models.incident import Incident


class AgentState(models.Model):
    """The hot row, which every heartbeat updates. Narrow, with no index besides its key and `check_at`.

    A heartbeat changes `check_at` only to bring it forward, so its update is heap-only on PostgreSQL; the sweep finds
    the row at the earlier time and moves it. What there is to read stands in `Unread`. A new column also belongs in
    `domain/hot_row.py` and `storage/columns.py`; a contract test names the places that lack it.
    """

    agent = models.OneToOneField(Agent, models.CASCADE, primary_key=True, related_name="state")
    # When the next review is due; null: nothing to wait for.
    check_at = models.DateTimeField(null=True)
    # Of a review after which only time can change the outcome: when it chose to come back, and when it was. As long as
    # `check_at` is the planned time, nothing has asked for another review (see `review/calm.py`).
    planned_at = models.DateTimeField(null=True)
    reviewed_at = models.DateTimeField(null=True)
    # Deadlines
    beats = models.BigIntegerField(default=0)
    last_beat_at = models.DateTimeField(null=True)
    last_progress_at = models.DateTimeField(null=True)
    usual_gap = models.FloatField(null=True)
    # Learned by the review: the progress timeout in seconds, and until when the agent may be starting or resting.
    learned_progress_timeout = models.FloatField(null=True)
    quiet_until = models.DateTimeField(null=True)
    declared_interval = models.FloatField(null=True)
    declared_progress_timeout = models.FloatField(null=True)
    waiting_for = models.CharField(max_length=100, default="")
    waiting_until = models.DateTimeField(null=True)
    # The last heartbeat
    reported = models.CharField(max_length=10, default="")
    crashed = models.BooleanField(default=False)
    iteration = models.BigIntegerField(null=True)
    message_hash = models.BigIntegerField(null=True)
    prompts_hash = models.BigIntegerField(null=True)
    calls_hash = models.BigIntegerField(null=True)
    memory_mb = models.FloatField(null=True)
    instance = models.CharField(max_length=64, default="")
    instances: models.JSONField[Any, Any] = models.JSONField(null=True)
    # The last body with sums, when it was received, and how many seconds it took to store it: an old client resends it
    # after 5 s without an answer.
    body_hash = models.BigIntegerField(null=True)
    body_at = models.DateTimeField(null=True)
    stored_after = models.FloatField(default=0)
    # Money in micro-dollars: `cost` counts against budgets, `priced` is the part the server priced, the rest was
    # reported. `unpriced` are tokens without a known price. Days and months are those of the project's time zone.
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
    # Total
    tokens_total = models.BigIntegerField(default=0)
    cost_total = models.BigIntegerField(default=0)
    priced_total = models.BigIntegerField(default=0)
    unpriced_total = models.BigIntegerField(default=0)
    # Since the client last started
    run_at = models.DateTimeField(null=True)
    run_cost = models.BigIntegerField(default=0)
    run_priced = models.BigIntegerField(default=0)
    run_unpriced = models.BigIntegerField(default=0)
    # Its reporter, and how it can be restarted
    source = models.CharField(max_length=80, default="")
    runner = models.CharField(max_length=80, default="")
    runner_at = models.DateTimeField(null=True)
    runner_down = models.BooleanField(default=False)
    held = models.BooleanField(default=False, help_text="Stopped on purpose: never restarted automatically.")
    restart_type = models.CharField(max_length=10, default="")
    restart_target = models.CharField(max_length=300, default="")
    # Results of the review
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.NEW)
    incident: models.ForeignKey[Incident | None, Incident | None] = models.ForeignKey(
        "Incident", models.SET_NULL, null=True, db_index=False, related_name="+", db_constraint=False
    )
    incident_kind = models.CharField(max_length=20, default="")
    # Open warnings for the client as [[key, reason], ...], and the keys it already got; see `domain/client_warning.py`.
    warnings: models.JSONField[Any, Any] = models.JSONField(null=True)
    warned = models.CharField(max_length=300, default="")
    hold = models.BooleanField(default=False)
    # Who holds it and why, if a person does; only people change it (`fleet/holds.py`).
    hold_reason = models.CharField(max_length=300, default="", db_default="")
    # Budgets that a person waived, by name; see `domain/budgets.py`.
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
        """Whether it ever reported tokens. If not, they are unknown, not 0."""
        return self.tokens_total > 0

    @property
    def knows_cost(self) -> bool:
        """Whether it ever reported a cost, or tokens with a known price."""
        return self.cost_total > 0 or self.tokens_total > self.unpriced_total


class Unread(models.Model):
    """An agent with heartbeats that the next review must read. Heartbeats add it, the review removes it.

    Apart from the hot row, because a column that the sweep can find there needs an index, and an update of an indexed
    column is never heap-only. Both sides hold the hot row's lock. No database constraint: its check would lock the
    agent's row for every heartbeat.
    """

    agent = models.OneToOneField(Agent, models.CASCADE, primary_key=True, related_name="+", db_constraint=False)
    # The database's clock: of use for the order only.
    since = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"unread heartbeats of agent {self.agent_id}"


class AgentMemory(models.Model):
    """The state that rules keep between reviews, by KIND, and the last heartbeat they have read."""

    agent = models.OneToOneField(Agent, models.CASCADE, primary_key=True, related_name="memory")
    read_to = models.BigIntegerField(default=0)
    rules = models.JSONField(default=dict)

    def __str__(self) -> str:
        return f"memory of agent {self.agent_id}"
