"""Snoozing an incident: no notifications until a time, then a reminder if nobody has taken it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.db import transaction

from agents.incidents.events import record
from agents.models import Incident, IncidentEvent
from teams.errors import ApiError
from teams.services import audit
from teams.times import exact

MAX_LENGTH: Final = timedelta(days=7)
MORNING: Final = time(8)
UNTIL_MORNING: Final = "morning"
# A morning that is nearer would be no snooze.
SHORTEST_NIGHT: Final = timedelta(hours=1)
LENGTHS: Final[Mapping[str, timedelta]] = {"30m": timedelta(minutes=30), "2h": timedelta(hours=2)}
CHOICES: Final = (*LENGTHS, UNTIL_MORNING)
# Incidents per run of the sweep, which comes every second.
MAX_ENDED: Final = 200


def end_of(choice: str, now: datetime, zone: str) -> datetime:
    """When a snooze of this length ends. `zone` is the person's, for `morning`: the next 8:00 there.

    Raises ApiError 422 for anything but `CHOICES`.
    """
    if choice in LENGTHS:
        return now + LENGTHS[choice]
    if choice != UNTIL_MORNING:
        raise ApiError(422, "invalid", "Choose how long the incident is snoozed.")
    local = now.astimezone(zone_of(zone))
    # By the wall clock: a night with a change of the clock has 23 or 25 hours.
    mornings = (datetime.combine(local.date() + timedelta(days=day), MORNING, local.tzinfo) for day in range(3))
    return next(morning for morning in mornings if morning >= now + SHORTEST_NIGHT).astimezone(now.tzinfo)


def labels(now: datetime, zone: str) -> dict[str, str]:
    """Each choice as a person reads it: `For 30 minutes, until 14:30`."""
    ends = {choice: end_of(choice, now, zone).astimezone(zone_of(zone)) for choice in CHOICES}
    names = {"30m": "For 30 minutes, until", "2h": "For 2 hours, until", UNTIL_MORNING: "Until"}
    return {choice: f"{names[choice]} {_day(choice, at)}{at:%H:%M}" for choice, at in ends.items()}


def _day(choice: str, at: datetime) -> str:
    return f"{at:%A}, " if choice == UNTIL_MORNING else ""


def zone_of(name: str) -> ZoneInfo:
    """UTC for a name that this system doesn't know."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


@transaction.atomic
def snooze(*, incident: Incident, until: datetime, actor: str, now: datetime) -> None:
    """Send nothing about an incident until then, not even its recovery. A later snooze replaces an earlier one.

    Raises ApiError 422 when the time is not within the next seven days, 409 when the incident is resolved.
    """
    if not now < until <= now + MAX_LENGTH:
        raise ApiError(422, "invalid", "Snooze until a time within the next 7 days.", fields={"until": "out of range"})
    if not Incident.objects.open().filter(pk=incident.pk).update(snoozed_until=until):
        raise ApiError(409, "incident_resolved", "The incident is resolved: there is nothing left to snooze.")
    incident.snoozed_until = until
    text = f"Snoozed until {exact(until, zone_of(incident.project.time_zone))} by {actor}"
    _note(incident, text, actor, now, until=until.isoformat())
    _audit(incident, "incident.snooze", actor, until=until.isoformat())


@transaction.atomic
def end(*, incident: Incident, actor: str, now: datetime) -> None:
    """End a snooze early: notifications are sent again from now on. Does nothing without one."""
    snoozed = Incident.objects.open().filter(pk=incident.pk, snoozed_until__isnull=False)
    if snoozed.update(snoozed_until=None):
        incident.snoozed_until = None
        _note(incident, f"Snooze ended by {actor}", actor, now, until=now.isoformat())
        _audit(incident, "incident.unsnooze", actor)


def end_due(now: datetime) -> None:
    """End snoozes whose time has come; safe with any number of workers."""
    due = Incident.objects.filter(snoozed_until__lte=now).order_by("snoozed_until")
    for incident in due.select_related("project__team", "agent")[:MAX_ENDED]:
        with transaction.atomic():
            _end_due(incident, now)


def _end_due(incident: Incident, now: datetime) -> None:
    # Of all workers and people who end or extend this snooze, one gets the row.
    if not Incident.objects.filter(pk=incident.pk, snoozed_until=incident.snoozed_until).update(snoozed_until=None):
        return
    incident.refresh_from_db(fields=["snoozed_until", "acknowledged_at", "resolved_at", "severity", "muted_at"])
    if incident.resolved_at is None and incident.acknowledged_at is None and incident.muted_at is None:
        text = "The snooze is over and nobody has acknowledged the incident"
        record(incident=incident, kind=IncidentEvent.Kind.REMINDER, text=text, now=now)


def _note(incident: Incident, text: str, actor: str, now: datetime, *, until: str) -> None:
    data = {"snoozed_until": until}
    record(incident=incident, kind=IncidentEvent.Kind.NOTE, text=text, actor=actor, now=now, data=data)


def _audit(incident: Incident, action: str, actor: str, **data: str) -> None:
    audit(team=incident.project.team, actor=actor, action=action, target=str(incident), of=incident, data=data)
