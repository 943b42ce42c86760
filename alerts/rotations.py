"""Who is on call: layers of people who take turns, and overrides. Pure: no Django, no clock.

Hand-overs happen by the clock of the rotation's zone, so a week with a change of the clock has 167 or 169 hours.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from typing import Annotated, Any, Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from alerts.policies import Clock, Hours, Name, as_json

MAX_LAYERS: Final = 10
MAX_OVERRIDES: Final = 500


class Layer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """People who take turns of `days` days, from the first hand-over on. `hours`: only at this time of day."""

    people: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1, max_length=50)]
    first: date
    at: Clock = "09:00"
    days: Annotated[int, msgspec.Meta(ge=1, le=366)] = 7
    hours: Hours | None = None


class Override(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"start": "from", "end": "to"}):
    """Somebody else is on call between two times."""

    person: Name
    start: Annotated[datetime, msgspec.Meta(tz=True)]
    end: Annotated[datetime, msgspec.Meta(tz=True)]


class Rotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A later layer goes before an earlier one while it has somebody, and an override before all layers."""

    zone: Name
    layers: Annotated[tuple[Layer, ...], msgspec.Meta(min_length=1, max_length=MAX_LAYERS)]
    overrides: Annotated[tuple[Override, ...], msgspec.Meta(max_length=MAX_OVERRIDES)] = ()


class Shift(NamedTuple):
    """Who is on call between two times."""

    person: str
    start: datetime
    end: datetime


class RotationError(ValueError):
    """The text says what is wrong, and where."""


def parse(data: Any) -> Rotation:
    """A rotation from JSON. Raises `RotationError`."""
    try:
        rotation = msgspec.convert(data, Rotation)
        ZoneInfo(rotation.zone)
    except msgspec.ValidationError as error:
        raise RotationError(str(error)) from None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise RotationError(f"There is no time zone named {data['zone'][:50]!r}.") from None
    for override in rotation.overrides:
        if override.start >= override.end:
            raise RotationError("An override must end after its start.")
    if "\\u0000" in msgspec.json.encode(as_json(rotation)).decode():
        raise RotationError("Texts must not contain a NUL character.")
    return rotation


def people_of(rotation: Rotation) -> set[str]:
    named = {person for layer in rotation.layers for person in layer.people}
    return named | {override.person for override in rotation.overrides}


def on_call(rotation: Rotation, at: datetime) -> str:
    """Who is on call at this time; empty for nobody."""
    for override in reversed(rotation.overrides):
        if override.start <= at < override.end:
            return override.person
    local = at.astimezone(ZoneInfo(rotation.zone))
    people = (_of_layer(layer, local) for layer in reversed(rotation.layers))
    return next(filter(None, people), "")


def _of_layer(layer: Layer, local: datetime) -> str:
    if layer.hours and not _is_within(layer.hours, local.time()):
        return ""
    # Before the hand-over, a day belongs to whoever had the day before.
    day = local.date() - timedelta(days=local.time() < time.fromisoformat(layer.at))
    turn = (day - layer.first).days // layer.days
    return layer.people[turn % len(layer.people)] if day >= layer.first else ""


def _is_within(hours: Hours, clock: time) -> bool:
    start, end = time.fromisoformat(hours.start), time.fromisoformat(hours.end)
    return start <= clock < end if start < end else clock >= start or clock < end


def shifts(rotation: Rotation, begins: datetime, ends: datetime) -> list[Shift]:
    """Who is on call from one time to another, without gaps in which nobody is."""
    times = sorted({begins, ends, *(at for at in _changes(rotation, begins, ends) if begins < at < ends)})
    found: list[Shift] = []
    for start, end in pairwise(times):
        person = on_call(rotation, start)
        if found and found[-1].person == person and found[-1].end == start:
            found[-1] = found[-1]._replace(end=end)
        elif person:
            found.append(Shift(person, start, end))
    return found


def _changes(rotation: Rotation, begins: datetime, ends: datetime) -> Sequence[datetime]:
    """Every time at which somebody else may be on call."""
    zone = ZoneInfo(rotation.zone)
    clocks = {time.fromisoformat(layer.at) for layer in rotation.layers}
    hours = [layer.hours for layer in rotation.layers if layer.hours]
    clocks |= {time.fromisoformat(clock) for each in hours for clock in (each.start, each.end)}
    first, days = begins.astimezone(zone).date(), (ends - begins).days + 2
    by_clock = [datetime.combine(first + timedelta(days=day), clock, zone) for day in range(days) for clock in clocks]
    overrides = [at for override in rotation.overrides for at in (override.start, override.end)]
    # Only near ones: the first day of the year 1 has no time in other zones.
    return [at.astimezone(begins.tzinfo) for at in (*by_clock, *overrides) if begins < at < ends]
