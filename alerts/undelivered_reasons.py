"""Why no one was notified of a problem, as far as the project's present channels can explain it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import pairwise
from typing import Final

from agents.domain import budgets, signal_kinds
from agents.models import Incident, IncidentEvent, Severity
from alerts import routing
from alerts.models import Channel, Delivery

MUTED: Final = "muted"
SNOOZED: Final = "snoozed"
NO_CHANNEL: Final = "no_channel"
NO_CHANNEL_THEN: Final = "no_channel_then"
ALL_DISABLED: Final = "all_disabled"
NOT_ROUTED: Final = "not_routed"
NOT_ROUTED_THEN: Final = "not_routed_then"
# It came back before its recovery was sent: for its readers it never ended.
ONGOING: Final = "ongoing"
# The project's monthly budget, of which another incident's message told.
KNOWN: Final = "known"


def explain(incident: Incident, events: Iterable[IncidentEvent]) -> list[tuple[IncidentEvent, str]]:
    """Each event, and why no channel was notified of it; empty if one was, or if the event notifies nobody.

    A reason that applies to several events is given at the last of them. Prefetch `deliveries`.
    """
    events = list(events)
    unsent = [event for event in events if event.kind in routing.FAILURES and not event.deliveries.all()]
    channels = list(incident.project.channels.all()) if unsent else []
    by_people = dict.fromkeys(_snoozed(events), SNOOZED) | dict.fromkeys(_muted(events), MUTED) if unsent else {}
    ongoing = {after.pk for before, after in pairwise(events) if _is_cancelled_recovery(before)}
    reasons = {
        event.pk: by_people.get(event.pk) or _reason(incident, channels, event, event.pk in ongoing) for event in unsent
    }
    last_of_each = {why: pk for pk, why in reasons.items()}.values()
    return [(event, reasons[event.pk] if event.pk in last_of_each else "") for event in events]


def severities(incident: Incident, events: Iterable[IncidentEvent]) -> dict[int, str]:
    """How severe the incident was by each of its events: a warning that nobody received may have become critical."""
    found, severity = dict[int, str](), incident.severity
    for event in events:
        said = event.data.get("severity", "")
        if event.kind in (IncidentEvent.Kind.OPENED, IncidentEvent.Kind.REOPENED):
            severity = said or incident.severity
        elif event.kind == IncidentEvent.Kind.UPDATED and said == Severity.CRITICAL:
            severity = said
        found[event.pk] = severity
    return found


def _muted(events: Iterable[IncidentEvent]) -> Iterator[int]:
    """The events that came while it was muted, by what its notes say: it may be unmuted since."""
    is_muted = False
    for event in events:
        is_muted = event.data.get("muted", is_muted)
        if is_muted:
            yield event.pk


def _snoozed(events: Iterable[IncidentEvent]) -> Iterator[int]:
    """The events that came during a snooze, by what its notes say."""
    until = ""
    for event in events:
        until = event.data.get("snoozed_until", until)
        if until and event.at < datetime.fromisoformat(until):
            yield event.pk


def _reason(incident: Incident, channels: Iterable[Channel], event: IncidentEvent, is_ongoing: bool) -> str:
    if is_ongoing:
        return ONGOING
    why = reason(incident, channels, event.at)
    # A channel matched, so what it knows already was the reason.
    is_month = event.data.get("signal") == signal_kinds.COST and any(
        signal.evidence.get("budget") == budgets.MONTH for signal in incident.signals.all()
    )
    return KNOWN if why == NOT_ROUTED_THEN and is_month else why


def _is_cancelled_recovery(event: IncidentEvent) -> bool:
    cancelled = any(delivery.state == Delivery.State.SKIPPED for delivery in event.deliveries.all())
    return cancelled and event.kind == IncidentEvent.Kind.RESOLVED


def reason(incident: Incident, channels: Iterable[Channel], at: datetime) -> str:
    """Why no channel of the incident's project was notified at this time: one of the constants above."""
    if incident.muted_at is not None and incident.muted_at <= at:
        return MUTED
    existing = [channel for channel in channels if channel.created_at <= at]
    if not existing:
        return NO_CHANNEL_THEN if channels else NO_CHANNEL
    enabled = [channel for channel in existing if channel.enabled]
    if not enabled:
        return ALL_DISABLED
    takes_all = any(channel.severity == routing.WARNING and not channel.labels for channel in enabled)
    return NOT_ROUTED_THEN if takes_all else NOT_ROUTED
