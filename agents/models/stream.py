"""What `/api/v1/events` sends."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils import timezone

from teams.models import Project


class StreamEvent(models.Model):
    """One change that programs may listen to, written in the transaction of the change and kept for a day.

    Clients resume after a `number`, which grows in the order of commits; see `storage/event_stream.py`.
    """

    project = models.ForeignKey(Project, models.CASCADE, related_name="+", db_index=False)
    agent_id = models.BigIntegerField()
    number = models.BigIntegerField(null=True, unique=True)
    type = models.CharField(max_length=30)
    data: models.JSONField[Any, Any] = models.JSONField(default=dict)
    at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        ordering = ["number"]
        indexes = [
            models.Index(fields=["project", "number"], name="stream_of_a_project"),
            # For: the events that have no number yet
            models.Index(fields=["id"], name="stream_not_numbered", condition=models.Q(number__isnull=True)),
        ]

    def __str__(self) -> str:
        return f"{self.number} {self.type}"
