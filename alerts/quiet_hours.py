"""When a person wants no messages, and until when one has to wait. Pure: no Django, no clock."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo
from typing import Final

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Quiet:
    """Every night that begins on one of these days, by the clock of the zone. An end before the start is the next day,
    the same time is a whole day."""

    start: time
    end: time
    days: Collection[str]
    zone: tzinfo
    critical_passes: bool = True


def waits_until(quiet: Quiet, at: datetime, severity: str) -> datetime:
    """When a message that is ready at this time may be sent."""
    if severity == "critical" and quiet.critical_passes:
        return at
    end = at
    # The end of one night may lie in the next: whoever is quiet all weekend hears of it on Monday.
    for _ in range(len(DAYS) + 1):
        later = _end_of_night(quiet, end)
        if later is None:
            break
        end = later
    return end


def _end_of_night(quiet: Quiet, at: datetime) -> datetime | None:
    """The end of the quiet hours that this time lies in, if any."""
    today = at.astimezone(quiet.zone).date()
    for day in (today - timedelta(days=1), today):
        if DAYS[day.weekday()] not in quiet.days:
            continue
        begins = datetime.combine(day, quiet.start, quiet.zone)
        last = day if quiet.start < quiet.end else day + timedelta(days=1)
        ends = datetime.combine(last, quiet.end, quiet.zone)
        # Compared in UTC: within one zone, Python compares what clocks show, and those are turned back.
        if begins.astimezone(at.tzinfo) <= at < ends.astimezone(at.tzinfo):
            return ends.astimezone(at.tzinfo)
    return None
