"""The timeline of an incident. Every change of an incident writes its event, and the event's notifications, in its own
transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final

from django.conf import settings
from django.utils.module_loading import import_string

from agents.models import Incident, IncidentEvent, StreamEvent
from agents.storage import bulk, event_stream
from teams.actors import WATCHDOG

MAX_TEXT: Final = 500
# Their types in the event stream. Commands stand there themselves.
STREAMED: Final[dict[str, str]] = {
    IncidentEvent.Kind.OPENED: "incident.opened",
    IncidentEvent.Kind.REOPENED: "incident.opened",
    IncidentEvent.Kind.UPDATED: "incident.updated",
    IncidentEvent.Kind.ACKNOWLEDGED: "incident.acknowledged",
    IncidentEvent.Kind.RESOLVED: "incident.resolved",
}


def new(
    *,
    incident: Incident,
    kind: str,
    text: str,
    now: datetime,
    actor: str = WATCHDOG,
    data: dict[str, Any] | None = None,
) -> IncidentEvent:
    """An event, not stored yet."""
    return IncidentEvent(incident=incident, kind=kind, at=now, actor=actor, text=text[:MAX_TEXT], data=data or {})


def write(events: Sequence[IncidentEvent]) -> None:
    """Add events to their timelines and pass them to `INCIDENT_EVENT_SINKS`, which queue their notifications."""
    if not events:
        return
    for event in events:
        # It may rise later, and what was sent because of this event depends on how severe it was by then.
        if event.kind in (IncidentEvent.Kind.OPENED, IncidentEvent.Kind.REOPENED):
            event.data.setdefault("severity", str(event.incident.severity))
    bulk.insert(events)
    event_stream.write([_streamed(event) for event in events if event.kind in STREAMED])
    for sink in _sinks():
        sink(*events)


def record(
    *,
    incident: Incident,
    kind: str,
    text: str,
    now: datetime,
    actor: str = WATCHDOG,
    data: dict[str, Any] | None = None,
) -> IncidentEvent:
    """Write one event."""
    event = new(incident=incident, kind=kind, text=text, now=now, actor=actor, data=data)
    write([event])
    return event


def note_once(
    *, incident: Incident, code: str, text: str, now: datetime, data: Mapping[str, Any] | None = None
) -> bool:
    """Add a note, which notifies nobody, unless the incident has one with this code. Returns whether it is new."""
    notes = IncidentEvent.objects.filter(incident=incident, kind=IncidentEvent.Kind.NOTE)
    if notes.filter(data__code=code).exists():
        return False
    record(incident=incident, kind=IncidentEvent.Kind.NOTE, text=text, data={**(data or {}), "code": code}, now=now)
    return True


def _streamed(event: IncidentEvent) -> StreamEvent:
    incident = event.incident
    names = ("kind", "severity", "reason")
    shown = {"id": incident.pk, "state": str(incident.state), **{name: getattr(incident, name) for name in names}}
    data = {"incident": shown, "text": event.text, "actor": event.actor}
    return event_stream.event(incident.agent, STREAMED[event.kind], data, event.at)


@cache
def _sinks() -> list[Callable[..., None]]:
    return [import_string(name) for name in settings.INCIDENT_EVENT_SINKS]
