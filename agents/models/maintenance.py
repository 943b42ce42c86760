"""Maintenance windows."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from teams.models import Project


class Maintenance(models.Model):
    """A planned period in which agents are not evaluated; see `agents/fleet/maintenance.py`."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="maintenances")
    reason = models.CharField(max_length=200, help_text="Shown on the agents' pages.")
    starts_at = models.DateTimeField("from")
    ends_at = models.DateTimeField("until")
    labels = models.JSONField(
        default=dict,
        blank=True,
        help_text='Only agents with all these labels, e.g. {"host": "worker-3"}. Empty: all agents of the project.',
    )
    # Names instead of a relation: deleting the last listed agent must not empty the list, which would mean all agents.
    agent_names = models.JSONField(
        "agents", default=list, blank=True, help_text="Only these. Empty: all agents of the project."
    )
    created_by = models.CharField(max_length=255, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    opened_at = models.DateTimeField("started at", null=True, editable=False)
    closed_at = models.DateTimeField("ended at", null=True, editable=False)

    class Meta:
        ordering = ["-starts_at", "-id"]
        verbose_name = "maintenance window"
        verbose_name_plural = "maintenance"
        indexes = [models.Index(fields=["starts_at"], name="maintenance_due", condition=models.Q(closed_at=None))]

    def __str__(self) -> str:
        return f"{self.project}: {self.reason}"
