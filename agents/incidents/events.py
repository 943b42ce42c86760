"""The timeline of an incident. Every change of an incident writes its event, and the event's notifications, in its own
transaction."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import Any, Final

from django.conf import settings
from django.utils.module_loading import import_string

from agents.models import Incident, IncidentEvent
from teams.actors import WATCHDOG

MAX_TEXT: Final = 500


def record(
    *,
    incident: Incident,
    kind: str,
    text: str,
    now: datetime,
    actor: str = WATCHDOG,
    data: dict[str, Any] | None = None,
) -> IncidentEvent:
    """Add an event to the timeline and pass it to `INCIDENT_EVENT_SINKS`, which queue its notifications."""
    event = IncidentEvent.objects.create(
        incident=incident, kind=kind, at=now, actor=actor, text=text[:MAX_TEXT], data=data or {}
    )
    for sink in _sinks():
        sink(event)
    return event


def note_once(*, incident: Incident, code: str, text: str, now: datetime) -> None:
    """Add a note, which notifies nobody, unless the incident has one with this code."""
    notes = IncidentEvent.objects.filter(incident=incident, kind=IncidentEvent.Kind.NOTE)
    if not notes.filter(data__code=code).exists():
        record(incident=incident, kind=IncidentEvent.Kind.NOTE, text=text, data={"code": code}, now=now)


@cache
def _sinks() -> list[Callable[[IncidentEvent], None]]:
    return [import_string(name) for name in settings.INCIDENT_EVENT_SINKS]
