"""What the doors remember of what they were told, so that one thing told twice counts once."""

from __future__ import annotations

from typing import Any

from django.db import models

from teams.models import Project


class DoorNote(models.Model):
    """One note; see `agents/doors/notes.py`. Deleted after `keep_until`."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="+", db_index=False)
    key = models.BigIntegerField(help_text="A hash of what it is about.")
    sender = models.BigIntegerField(default=0, help_text="A hash of the sender’s resource.")
    ref = models.BigIntegerField(null=True, help_text="A hash of the provider’s id of the call.")
    started = models.BigIntegerField(default=0, help_text="microseconds since 1970")
    ended = models.BigIntegerField(default=0, help_text="microseconds since 1970")
    note: models.JSONField[Any, Any] = models.JSONField()
    keep_until = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "key"], name="door_note_once")]
        indexes = [
            models.Index(fields=["project", "ref"], name="door_notes_by_ref", condition=models.Q(ref__isnull=False)),
            models.Index(fields=["project", "sender", "ended"], name="door_notes_by_time"),
            models.Index(fields=["keep_until"], name="door_notes_to_delete"),
        ]

    def __str__(self) -> str:
        return f"door note {self.key}"
