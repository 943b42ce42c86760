"""The timeline of an incident. Every change of an incident writes its event, and the event's notifications, in its own
transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final

from django.conf import settings
from django.utils.module_loading import import_string

from agents.models import Incident, IncidentEvent
from agents.storage import bulk
from teams.actors import WATCHDOG

MAX_TEXT: Final = 500


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
    bulk.insert(events)
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


def note_once(*, incident: Incident, code: str, text: str, now: datetime) -> None:
    """Add a note, which notifies nobody, unless the incident has one with this code."""
    notes = IncidentEvent.objects.filter(incident=incident, kind=IncidentEvent.Kind.NOTE)
    if not notes.filter(data__code=code).exists():
        record(incident=incident, kind=IncidentEvent.Kind.NOTE, text=text, data={"code": code}, now=now)


@cache
def _sinks() -> list[Callable[..., None]]:
    return [import_string(name) for name in settings.INCIDENT_EVENT_SINKS]
