"""The schedule of a job, and the addresses its pings come to."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone

from agents.domain.jobs import schedules
from agents.models.agent import Agent


class Job(models.Model):
    """What belongs to an agent of the kind `job`: when it is expected, and how it is addressed by pings.

    Its runs are kept with the state of the rules; see `agents/rules/observers/runs.py`.
    """

    class Schedule(models.TextChoices):
        NONE = schedules.NONE, "none: runs at any time"
        PERIOD = schedules.PERIOD, "period: at least once in this time"
        CRON = schedules.CRON, "cron expression"
        ON_CALENDAR = schedules.ON_CALENDAR, "OnCalendar expression of systemd"

    agent = models.OneToOneField(Agent, models.CASCADE, primary_key=True, related_name="job")
    ping_id = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    slug = models.CharField(max_length=200, blank=True, help_text="Its name in ping addresses with a ping key.")
    schedule = models.CharField(
        max_length=12,
        choices=Schedule.choices,
        default=Schedule.NONE,
        help_text="None: as declared by clevagent run --cron, else no run is expected.",
    )
    period = models.FloatField(default=schedules.DEFAULT_PERIOD, help_text="Seconds from one run to the next.")
    expression = models.CharField(max_length=schedules.MAX_EXPRESSION, blank=True, help_text="0 2 * * *")
    time_zone = models.CharField(max_length=schedules.MAX_ZONE, default="UTC")
    grace = models.FloatField(default=schedules.DEFAULT_GRACE, help_text="Seconds that a run may start late.")
    max_duration = models.FloatField(
        null=True, blank=True, help_text="Seconds that a run may take. Empty: the grace period."
    )
    # A schedule that nobody chose: a ping created the job.
    is_default = models.BooleanField(default=False, editable=False)
    scheduled_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        # For: SELECT … WHERE agent.project = … AND slug = …, for each ping with a ping key
        indexes = [models.Index(fields=["slug"], name="job_by_slug")]

    def __str__(self) -> str:
        return f"job {self.agent_id}"

    @property
    def as_schedule(self) -> schedules.Schedule | None:
        """None: a person set neither a schedule nor an expected duration."""
        if self.schedule == Job.Schedule.NONE and self.max_duration is None:
            return None
        return schedules.Schedule(
            kind=self.schedule,  # type: ignore[arg-type]
            since=self.scheduled_at,
            period=self.period,
            expression=self.expression,
            time_zone=self.time_zone,
            grace=self.grace,
            max_duration=self.max_duration,
            is_default=self.is_default,
        )
