"""Webhooks that come in, and what they told: deploys and other systems' alerts."""

from __future__ import annotations

from typing import Final

from django.db import models
from django.utils import timezone

from agents.models.agent import Agent
from teams.encryption import EncryptedJSONField
from teams.keys import generate_ping_key
from teams.models import Project

MAX_TEXT: Final = 300


class IncomingWebhook(models.Model):
    """An address with a secret of its own, for one sender of one project."""

    class Kind(models.TextChoices):
        GITHUB = "github", "GitHub"
        GITLAB = "gitlab", "GitLab"
        ALERTMANAGER = "alertmanager", "Alertmanager"
        SENTRY = "sentry", "Sentry"

    project = models.ForeignKey(Project, models.CASCADE, related_name="webhooks")
    kind = models.CharField("sender", max_length=15, choices=Kind.choices)
    name = models.CharField(max_length=100, help_text="For example the repository that sends to it.")
    agent = models.ForeignKey(
        Agent,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        help_text="Events that name no agent appear on this agent’s timeline. Leave it empty for every agent’s.",
    )
    # In the URL, so it is no secret: it only says which secret proves the sender.
    address = models.CharField(max_length=40, unique=True, default=generate_ping_key, editable=False)
    secret = EncryptedJSONField(editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    created_by = models.CharField(max_length=255, default="", editable=False)
    received_at = models.DateTimeField(null=True, editable=False, help_text="When the last request was accepted.")
    refused_at = models.DateTimeField(null=True, editable=False, help_text="Set while requests are refused.")
    outcome = models.CharField(max_length=MAX_TEXT, default="", editable=False)

    class Meta:
        ordering = ["project", "name", "id"]

    def __str__(self) -> str:
        return self.name

    @property
    def is_working(self) -> bool:
        """Whether the last request was accepted."""
        return self.received_at is not None and self.refused_at is None


class OutsideEvent(models.Model):
    """A deploy or another system’s alert. `agent` None: about every agent of the project."""

    class Kind(models.TextChoices):
        DEPLOY = "deploy", "deploy"
        ALERT = "alert", "alert"

    project = models.ForeignKey(Project, models.CASCADE, related_name="+", db_index=False)
    webhook = models.ForeignKey(IncomingWebhook, models.CASCADE, related_name="events", db_index=False)
    agent = models.ForeignKey(Agent, models.CASCADE, null=True, related_name="+")
    key = models.BigIntegerField(help_text="A hash of what the sender calls it: told twice, it is stored once.")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    tone = models.CharField(max_length=10)
    text = models.CharField(max_length=MAX_TEXT)
    url = models.CharField(max_length=500, default="")
    version = models.BigIntegerField(help_text="Grows with each change at the sender; older news changes nothing.")
    began_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["webhook", "key"], name="outside_event_once")]
        indexes = [models.Index(fields=["project", "-began_at"], name="outside_events_newest_first")]

    def __str__(self) -> str:
        return self.text
