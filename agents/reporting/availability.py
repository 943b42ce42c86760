"""How each of the last days was: for the strip on a project's status page. Pure: no Django, no clock.

A day is well, troubled (some warning stood), down (something critical that keeps an agent from working stood), or
unknown, before there was an agent. Times are aware; days are those of the project's zone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from itertools import groupby
from typing import Final, NamedTuple

from agents.domain import signal_kinds

WELL, TROUBLED, DOWN, UNKNOWN = "well", "troubled", "down", "unknown"
AMISS: Final = (TROUBLED, DOWN)
# An agent that loops or spends too much works; one that is one of these does not.
STOPS_WORK: Final = signal_kinds.where(lambda traits: traits.stops_work)
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
    calendar = _calendar(now.astimezone(zone).date(), zone, count)
    return [_day(one, troubles, known_since, begin, min(now, end)) for one, begin, end in calendar]


@lru_cache(maxsize=16)
def _calendar(today: date, zone: tzinfo, count: int) -> list[tuple[date, datetime, datetime]]:
    """Days with their begin and end; the same for all agents of a page."""
    dates = [today - timedelta(days=back) for back in reversed(range(count))]
    midnights = [datetime.combine(one, time.min, zone) for one in (*dates, today + timedelta(days=1))]
    return list(zip(dates, midnights, midnights[1:], strict=False))


def share(of: Iterable[Day], known_since: datetime, now: datetime) -> float:
    """Percent of the time since `known_since`, within these days, in which work could be done."""
    known = [day for day in of if day.state != UNKNOWN]
    whole = min((now - known_since).total_seconds(), len(known) * 86_400.0)
    return 100.0 if whole <= 0 else max(0.0, 100 * (1 - sum(day.down for day in known) / whole))


def lines(of: Sequence[Day]) -> list[tuple[str, str]]:
    """For a drawing, a day being 1 wide: of the days without trouble, state and path; days in a row are one line."""
    paths: dict[str, str] = {}
    place = 0
    for state, alike in groupby(of, key=lambda day: day.state):
        count = len(list(alike))
        if state not in AMISS:
            paths[state] = f"{paths.get(state, '')}M{place} 5h{count}"
        place += count
    return list(paths.items())


def _day(day: date, troubles: Sequence[Trouble], known_since: datetime, begin: datetime, end: datetime) -> Day:
    if end <= known_since:
        return Day(day, UNKNOWN, 0.0)
    if not troubles:
        return Day(day, WELL, 0.0)
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
