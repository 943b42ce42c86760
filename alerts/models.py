"""Channels, and one delivery per event and channel."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from agents.models import IncidentEvent
from alerts import channels
from teams.models import Project


def kinds() -> list[tuple[str, str]]:
    """All kinds of channel. A callable, so that a new kind needs no migration."""
    return [(kind.KIND, kind.LABEL) for kind in channels.ALL]


class Channel(models.Model):
    """Where a project's team is notified. `config` depends on the kind; see `channels/`."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="channels")
    kind = models.CharField(max_length=20, choices=kinds)
    name = models.CharField(max_length=100)
    config: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField(default=dict)
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

    class Meta:
        ordering = ["project", "name"]

    def __str__(self) -> str:
        return f"{self.name} ({self.get_kind_display()})"


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def pending(self) -> DeliveryQuerySet:
        return self.filter(state=Delivery.State.PENDING)

    def leased(self, now: datetime) -> DeliveryQuerySet:
        """Being sent at this moment."""
        return self.pending().filter(lease_until__gt=now)

    def unleased(self, now: datetime) -> DeliveryQuerySet:
        return self.pending().filter(Q(lease_until__isnull=True) | Q(lease_until__lte=now))

    def due(self, now: datetime) -> DeliveryQuerySet:
        """Deliveries to send now: one at a time per channel, and the events of each incident in order."""
        of_channel = Delivery.objects.filter(channel=OuterRef("channel"))
        earlier = of_channel.pending().filter(event__incident=OuterRef("event__incident"), pk__lt=OuterRef("pk"))
        return self.pending().filter(
            # Tests are sent in parallel: they must not hold up an alert.
            ~Exists(of_channel.leased(now).filter(event__isnull=False)),
            ~Exists(earlier),
            Q(channel__retry_at__isnull=True) | Q(channel__retry_at__lte=now),
            Q(channel__enabled=True) | Q(event__isnull=True),
            next_try_at__lte=now,
        )


class Delivery(models.Model):
    """A notification: one event to one channel. Written with the event, sent by the worker that holds the lease."""

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
        constraints = [models.UniqueConstraint(fields=["event", "channel"], name="one_delivery_an_event_and_channel")]
        indexes = [
            # The relay's search for due deliveries
            models.Index(fields=["next_try_at"], name="delivery_due", condition=Q(state="pending")),
            # The search for other waiting or leased deliveries of the same channel
            models.Index(fields=["channel", "id"], name="delivery_waiting", condition=Q(state="pending")),
        ]

    def __str__(self) -> str:
        return f"{self.channel}: {self.get_state_display()}"

    @property
    def not_before(self) -> datetime:
        """When it is tried next, considering the channel's backoff. Reads `channel`: select it."""
        return max(filter(None, (self.next_try_at, self.channel.retry_at)), default=self.created_at)
