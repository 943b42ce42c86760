"""An agent's availability per day, for the strip on a project's status page. Pure: no Django, no clock.

A day is well, troubled (a warning was open, or the agent was down briefly), down (critical problems kept the agent from
working for 1 % of a day), or unknown (before its first heartbeat, or after it was paused or stopped). Times are aware;
days are calendar days in the project's zone.
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
# An agent that loops or overspends still works.
STOPS_WORK: Final = signal_kinds.where(lambda traits: traits.stops_work)
DAYS: Final = 90
# Downtime in seconds that makes a day a bad one: below 99 % uptime. A shorter one must not look like a lost day.
DOWN_FROM: Final = 864.0
# An uptime in percent says something from one whole day on, in seconds.
UPTIME_FROM: Final = 86_400.0


# With any downtime uptime is at most this, in percent: 9 s of 90 days must not round to 100.
ALMOST: Final = 99.99


class Known(NamedTuple):
    """From when until when the agent was monitored, as far as rows tell."""

    since: datetime
    until: datetime

    @property
    def seconds(self) -> float:
        return max(0.0, (self.until - self.since).total_seconds())


class Trouble(NamedTuple):
    """One problem; `ended` is None while it is open."""

    kind: str
    critical: bool
    began: datetime
    ended: datetime | None


@dataclass(frozen=True, slots=True)
class Day:
    """`down` is the downtime in seconds, also of a day that is only troubled."""

    date: date
    state: str
    down: float


def days(troubles: Sequence[Trouble], known: Known | None, now: datetime, zone: tzinfo, count: int = DAYS) -> list[Day]:
    """The last days, oldest first. `known` is None for an agent that never reported."""
    calendar = _calendar(now.astimezone(zone).date(), zone, count)
    return [_day(one, troubles, known, begin, min(now, end)) for one, begin, end in calendar]


@lru_cache(maxsize=16)
def _calendar(today: date, zone: tzinfo, count: int) -> list[tuple[date, datetime, datetime]]:
    """Days with their start and end; cached because all agents of a page share them."""
    dates = [today - timedelta(days=back) for back in reversed(range(count))]
    midnights = [datetime.combine(one, time.min, zone) for one in (*dates, today + timedelta(days=1))]
    return list(zip(dates, midnights, midnights[1:], strict=False))


def share(of: Iterable[Day], known: Known) -> float:
    """Uptime in percent of the known time, within these days."""
    shown = [day for day in of if day.state != UNKNOWN]
    whole, down = min(known.seconds, len(shown) * 86_400.0), sum(day.down for day in shown)
    return 100.0 if whole <= 0 or not down else min(ALMOST, max(0.0, 100 * (1 - down / whole)))


def lines(of: Sequence[Day]) -> list[tuple[str, str]]:
    """State and SVG path of the days without problems, one unit per day; consecutive days are one line."""
    paths: dict[str, str] = {}
    position = 0
    for state, alike in groupby(of, key=lambda day: day.state):
        count = len(list(alike))
        if state not in AMISS:
            paths[state] = f"{paths.get(state, '')}M{position} 5h{count}"
        position += count
    return list(paths.items())


def _day(day: date, troubles: Sequence[Trouble], known: Known | None, begin: datetime, end: datetime) -> Day:
    if known is None or end <= known.since or begin >= known.until:
        return Day(day, UNKNOWN, 0.0)
    if not troubles:
        return Day(day, WELL, 0.0)
    open_ones = [trouble for trouble in troubles if _overlaps(trouble, begin, end)]
    stops = [(max(one.began, begin), min(one.ended or end, end)) for one in open_ones if _stops_work(one)]
    down = _covered(stops)
    state = DOWN if down >= DOWN_FROM else TROUBLED if open_ones else WELL
    return Day(day, state, down)


def _overlaps(trouble: Trouble, begin: datetime, end: datetime) -> bool:
    return trouble.began < end and (trouble.ended is None or trouble.ended > begin)


def _stops_work(trouble: Trouble) -> bool:
    return trouble.critical and trouble.kind in STOPS_WORK


def _covered(spans: Iterable[tuple[datetime, datetime]]) -> float:
    """Seconds covered by any of these spans."""
    total, reached = 0.0, None
    for begin, end in sorted(spans):
        begin = begin if reached is None else max(begin, reached)
        total += max(0.0, (end - begin).total_seconds())
        reached = end if reached is None else max(reached, end)
    return total
