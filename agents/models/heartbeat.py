"""What agents reported, one by one, and its sums."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils import timezone

from agents.models.agent import Agent
from teams.models import Project


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
    gap = models.FloatField(null=True, help_text="Seconds since the one that came in before it, where that is a gap.")
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
    """Sums of an agent's heartbeats over a minute, an hour or a day (UTC) in which they were sent, for charts.

    `tools` is null in what was summed up before names were kept; then the gap, and as a rule the memory, are, too.
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
    unpriced = models.BigIntegerField(default=0, help_text="tokens that nobody knows the price of")
    tool_calls = models.IntegerField(default=0)
    memory_mb = models.FloatField(null=True, help_text="the most")
    gap = models.FloatField(null=True, help_text="the longest, in seconds")
    tools: models.JSONField[Any, Any] = models.JSONField(
        null=True, help_text="Calls by name: see `agents/domain/tool_counts.py`."
    )

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
