"""Stored heartbeats and their sums."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils import timezone

from agents.models.agent import Agent
from teams.models import Project


class Heartbeat(models.Model):
    """One heartbeat, append-only; partitioned by `day` (UTC) on PostgreSQL. Everything but numbers is one JSON."""

    agent = models.ForeignKey(Agent, models.CASCADE, related_name="heartbeats", db_constraint=False, db_index=False)
    day = models.DateField()
    received_at = models.DateTimeField()
    spent_at = models.DateTimeField(
        default=timezone.now, help_text="When it was sent, by the client’s clock as far as that is plausible."
    )
    beat_id = models.CharField(max_length=64, null=True)  # noqa: DJ001 - null keeps it out of the unique index
    status = models.CharField(max_length=10)
    progress = models.BooleanField(default=False)
    tokens = models.BigIntegerField(default=0)
    cost = models.BigIntegerField(default=0, help_text="micro-dollars that count")
    priced = models.BigIntegerField(default=0, help_text="micro-dollars of them that the server priced")
    unpriced = models.BigIntegerField(default=0, help_text="tokens without a known price")
    tool_calls = models.IntegerField(default=0)
    iteration = models.BigIntegerField(null=True)
    memory_mb = models.FloatField(null=True)
    gap = models.FloatField(null=True, help_text="Seconds since the previous heartbeat, where that is a gap.")
    content: models.JSONField[Any, Any] = models.JSONField(null=True)
    answer: models.JSONField[Any, Any] = models.JSONField(null=True, help_text="The answer, if it carried a warning.")

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
    """Sums over the heartbeats an agent sent in one minute, hour or day (UTC), for charts.

    `tools` is null in rollups from before tool names were kept; there `gap`, and usually `memory_mb`, are null, too.
    """

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
    unpriced = models.BigIntegerField(default=0, help_text="tokens without a known price")
    tool_calls = models.IntegerField(default=0)
    memory_mb = models.FloatField(null=True, help_text="maximum")
    gap = models.FloatField(null=True, help_text="longest, in seconds")
    tools: models.JSONField[Any, Any] = models.JSONField(
        null=True, help_text="Calls by name: see `agents/domain/tool_counts.py`."
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["agent", "span", "start"], name="one_rollup_a_span")]
        # For queries over all agents: updating rollups, retention, the plan and operator pages.
        indexes = [models.Index(fields=["span", "start"], name="rollups_of_a_span")]

    def __str__(self) -> str:
        return f"{self.span} {self.start}"


class MonthSpend(models.Model):
    """A project's month: the spend of agents deleted since, and the last level of its budget.

    The spend of existing agents is in their hot rows. See `storage/monthly_spend.py` for `level`.
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
