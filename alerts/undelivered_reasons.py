"""Why nobody was told that something is wrong, as far as today's channels show it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import pairwise
from typing import Final

from agents.models import Incident, IncidentEvent
from alerts import routing
from alerts.models import Channel, Delivery

MUTED: Final = "muted"
NO_CHANNEL: Final = "no_channel"
NONE_YET: Final = "none_yet"
ALL_OFF: Final = "all_off"
ROUTED: Final = "routed"
CHANGED: Final = "changed"
ONGOING: Final = "ongoing"


def untold(incident: Incident, events: Iterable[IncidentEvent]) -> list[tuple[IncidentEvent, str]]:
    """Each event, and why no channel was told of it; empty where one was, or where it is nothing to tell.

    What goes for several is said with the last of them. Fetch `deliveries` ahead.
    """
    events = list(events)
    silent = [event for event in events if event.kind in routing.FAILURES and not event.deliveries.all()]
    channels = list(incident.project.channels.all()) if silent else []
    ended = {after.pk for before, after in pairwise(events) if _is_withdrawn(before)}
    reasons = {one.pk: ONGOING if one.pk in ended else why(incident, channels, one.at) for one in silent}
    whys = [(event, reasons.get(event.pk, "")) for event in events]
    last = {reason: event.pk for event, reason in whys}
    return [(event, reason if last[reason] == event.pk else "") for event, reason in whys]


def _is_withdrawn(event: IncidentEvent) -> bool:
    """Whether it is a recovery that was not told any more, for it came back: to the readers it never ended."""
    skipped = any(delivery.state == Delivery.State.SKIPPED for delivery in event.deliveries.all())
    return skipped and event.kind == IncidentEvent.Kind.RESOLVED


def why(incident: Incident, channels: Iterable[Channel], at: datetime) -> str:
    """Why no channel of the incident's project was told of what happened at this time: one of the words above."""
    if incident.muted_at is not None and incident.muted_at <= at:
        return MUTED
    there = [channel for channel in channels if channel.created_at <= at]
    if not there:
        return NONE_YET if channels else NO_CHANNEL
    on = [channel for channel in there if channel.enabled]
    if not on:
        return ALL_OFF
    takes_all = any(channel.severity == routing.WARNING and not channel.labels for channel in on)
    return CHANGED if takes_all else ROUTED
