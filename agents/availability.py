"""How each of the last days was: for the strip on a project's status page. Pure: no Django, no clock.

A day is well, troubled (some warning stood), down (something critical that keeps an agent from working stood), or
unknown, before there was an agent. Times are aware; days are those of the project's zone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Final, NamedTuple

WELL, TROUBLED, DOWN, UNKNOWN = "well", "troubled", "down", "unknown"
# An agent that loops or spends too much works; one that is one of these does not.
STOPS_WORK: Final = frozenset({"missed_heartbeat", "stalled", "crash", "error", "restart_failed"})
DAYS: Final = 90


class Trouble(NamedTuple):
    """One thing that was wrong; `ended` None while it is."""

    kind: str
    critical: bool
    began: datetime
    ended: datetime | None


@dataclass(frozen=True, slots=True)
class Day:
    """`down` is for how long no work was done, in seconds."""

    date: date
    state: str
    down: float


def days(
    troubles: Sequence[Trouble], known_since: datetime, now: datetime, zone: tzinfo, count: int = DAYS
) -> list[Day]:
    """The last days, oldest first."""
    today = now.astimezone(zone).date()
    dates = [today - timedelta(days=back) for back in reversed(range(count))]
    return [_day(one, troubles, known_since, now, zone) for one in dates]


def share(of: Iterable[Day], known_since: datetime, now: datetime) -> float:
    """Percent of the time since `known_since`, within these days, in which work could be done."""
    known = [day for day in of if day.state != UNKNOWN]
    whole = min((now - known_since).total_seconds(), len(known) * 86_400.0)
    return 100.0 if whole <= 0 else max(0.0, 100 * (1 - sum(day.down for day in known) / whole))


def _day(day: date, troubles: Sequence[Trouble], known_since: datetime, now: datetime, zone: tzinfo) -> Day:
    begin = datetime.combine(day, time.min, zone)
    end = min(now, datetime.combine(day + timedelta(days=1), time.min, zone))
    if end <= known_since:
        return Day(day, UNKNOWN, 0.0)
    met = [one for one in troubles if one.began < end and (one.ended is None or one.ended > begin)]
    stops = [(max(one.began, begin), min(one.ended or end, end)) for one in met if _stops_work(one)]
    state = DOWN if stops else TROUBLED if met else WELL
    return Day(day, state, _covered(stops))


def _stops_work(trouble: Trouble) -> bool:
    return trouble.critical and trouble.kind in STOPS_WORK


def _covered(spans: Iterable[tuple[datetime, datetime]]) -> float:
    """Seconds within any of these."""
    total, reached = 0.0, None
    for begin, end in sorted(spans):
        begin = begin if reached is None else max(begin, reached)
        total += max(0.0, (end - begin).total_seconds())
        reached = end if reached is None else max(reached, end)
    return total
