"""Channels, and one delivery per event and channel."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import models
from django.db.models import Q
from django.utils import timezone

from agents.models import Incident, IncidentEvent
from alerts import channels
from teams.encryption import EncryptedJSONField
from teams.models import Project, User


def kinds() -> list[tuple[str, str]]:
    """All kinds of channel. A callable, so that a new kind needs no migration."""
    return [(kind.KIND, kind.LABEL) for kind in channels.ALL]


class ChannelQuerySet(models.QuerySet["Channel"]):
    def open(self, now: datetime) -> ChannelQuerySet:
        """Channels that may be sent to now."""
        return self.filter(Q(retry_at__isnull=True) | Q(retry_at__lte=now), enabled=True)

    def idle(self, now: datetime) -> ChannelQuerySet:
        """Channels that no sender works on."""
        return self.filter(Q(lease_until__isnull=True) | Q(lease_until__lte=now))


class Channel(models.Model):
    """Where a project's team is notified. `config` depends on the kind; see `channels/`."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="channels")
    kind = models.CharField(max_length=20, choices=kinds)
    name = models.CharField(max_length=100)
    config = EncryptedJSONField(default=dict)
    enabled = models.BooleanField(default=True)
    severity = models.CharField(
        "severity",
        max_length=10,
        choices=[("warning", "All alerts"), ("critical", "Only critical alerts")],
        default="warning",
    )
    labels: models.JSONField[dict[str, str], dict[str, str]] = models.JSONField(
        "only agents with labels",
        default=dict,
        blank=True,
        help_text='Agents must have all of these labels, e.g. {"env": "production"}. Empty: all agents.',
    )
    disabled_reason = models.CharField(max_length=300, default="", blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    last_sent_at = models.DateTimeField(null=True, editable=False)
    failing_since = models.DateTimeField(null=True, editable=False)
    # While it fails, all its deliveries wait: after `failures` attempts in a row, the next not before `retry_at`.
    failures = models.PositiveIntegerField(default=0, editable=False)
    retry_at = models.DateTimeField(null=True, editable=False)
    last_error = models.CharField(max_length=300, default="", blank=True, editable=False)
    # A sender works on the channel until then; see `leases`.
    lease_until = models.DateTimeField(null=True, editable=False)
    # Recipients that the receiver permanently refuses, each with its error, while the others get their messages.
    refused: models.JSONField[dict[str, str], dict[str, str]] = models.JSONField(default=dict, editable=False)
    # What the owners have yet to be told about the channel, and when they were last told; see `owner_notices`.
    owner_notice = models.TextField(default="", blank=True, editable=False)
    owners_notified_at = models.DateTimeField(null=True, editable=False)

    objects = ChannelQuerySet.as_manager()

    class Meta:
        ordering = ["project", "name"]

    def __str__(self) -> str:
        return f"{self.name} ({self.get_kind_display()})"


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def pending(self) -> DeliveryQuerySet:
        return self.filter(state=Delivery.State.PENDING)

    def unleased(self, now: datetime) -> DeliveryQuerySet:
        return self.pending().filter(Q(lease_until__isnull=True) | Q(lease_until__lte=now))

    def due(self, now: datetime) -> DeliveryQuerySet:
        """Notifications whose time has come and that nobody is sending. Tests are sent by whoever asks for them."""
        return self.unleased(now).filter(next_try_at__lte=now, event__isnull=False)


class Delivery(models.Model):
    """A notification: one event to one recipient of a channel.

    Written with the event, sent by the worker that holds the lease.
    """

    class State(models.TextChoices):
        PENDING = "pending", "waiting"
        SENT = "sent", "sent"
        FAILED = "failed", "failed"
        SKIPPED = "skipped", "cancelled"

    # Final states in which the message did not reach the channel.
    UNDELIVERED = (State.FAILED, State.SKIPPED)

    # Null for a test.
    event = models.ForeignKey(IncidentEvent, models.CASCADE, null=True, related_name="deliveries")
    channel = models.ForeignKey(Channel, models.CASCADE, related_name="deliveries")
    # Which of the channel's recipients; empty for channels that have only one, and for tests.
    recipient = models.CharField(max_length=254, default="", blank=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.PENDING)
    message_id = models.CharField("message ID", max_length=40, unique=True, help_text="The same for every retry.")
    created_at = models.DateTimeField("created", default=timezone.now)
    next_try_at = models.DateTimeField("next attempt", null=True)
    lease_until = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    sent_at = models.DateTimeField("sent", null=True)
    last_error = models.CharField("error", max_length=300, default="", blank=True)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name = "notification"
        verbose_name_plural = "notification log"
        constraints = [
            models.UniqueConstraint(fields=["event", "channel", "recipient"], name="one_delivery_per_recipient")
        ]
        indexes = [
            # Whether a channel has something to send now
            models.Index(fields=["channel", "next_try_at"], name="delivery_due", condition=Q(state="pending")),
            # What waits for a channel, oldest first
            models.Index(fields=["channel", "id"], name="delivery_waiting", condition=Q(state="pending")),
        ]

    def __str__(self) -> str:
        return f"{self.channel}: {self.get_state_display()}"

    @property
    def not_before(self) -> datetime:
        """When it is tried next, considering the channel's backoff. Reads `channel`: select it."""
        return max(filter(None, (self.next_try_at, self.channel.retry_at)), default=self.created_at)


class Policy(models.Model):
    """Who is notified of a project's incidents, step by step; see `policies`. Without one, alert routing decides."""

    project = models.OneToOneField(Project, models.CASCADE, related_name="policy")
    rules: models.JSONField[list[Any], list[Any]] = models.JSONField(default=list)
    changed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name_plural = "policies"

    def __str__(self) -> str:
        return f"Policy of {self.project}"


class Escalation(models.Model):
    """How far an incident has come in the rule that applied when it opened: later changes of the policy are for others.

    `position` counts the notifications of the rule's plan that were written. `next_at` is null when none is left, or
    somebody has acknowledged the incident.
    """

    incident = models.OneToOneField(Incident, models.CASCADE, primary_key=True, related_name="escalation")
    rule: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField()
    begins_at = models.DateTimeField()
    position = models.PositiveIntegerField(default=0)
    next_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["next_at"], name="escalation_due", condition=Q(next_at__isnull=False))]

    def __str__(self) -> str:
        return f"{self.incident}: notification {self.position}"


class QuietHours(models.Model):
    """When a person wants no messages, in their own time zone; see `quiet_hours`."""

    user = models.OneToOneField(User, models.CASCADE, primary_key=True, related_name="quiet_hours")
    start = models.TimeField("from", help_text="In your time zone.")
    end = models.TimeField("to", help_text="If earlier than the start, on the next day.")
    days: models.JSONField[list[str], list[str]] = models.JSONField(default=list)
    critical_passes = models.BooleanField("critical alerts may disturb me", default=True)

    class Meta:
        verbose_name_plural = "quiet hours"

    def __str__(self) -> str:
        return f"{self.start:%H:%M} to {self.end:%H:%M}"


class OnCall(models.Model):
    """A rotation of a project, which its policy names; see `rotations`."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="rotations")
    name = models.CharField(max_length=100)
    rotation: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField()

    class Meta:
        ordering = ["name"]
        verbose_name = "on-call rotation"
        constraints = [models.UniqueConstraint(fields=["project", "name"], name="one_rotation_per_name")]

    def __str__(self) -> str:
        return self.name
