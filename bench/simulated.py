"""Simulated agents for `bench/stalls.py`: each kind yields one agent's events, in seconds after `EPOCH`."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0
# Midnight on a Monday.
EPOCH = datetime(2026, 6, 1, tzinfo=UTC)


class Event(NamedTuple):
    """`work` is progress, `start` a new process, `wait` a declared wait until `until`; `resumes` follows a rest."""

    at: float
    what: str = "work"
    until: float = 0.0
    resumes: bool = False


Gap = Callable[[], float]
Rng = random.Random


def steady(rng: Rng, end: float) -> Iterator[Event]:
    """A timer of 1 to 24 minutes, with 25 % jitter."""
    every = _between(rng, MINUTE, 24 * MINUTE)
    return _steps(lambda: every * rng.uniform(0.8, 1.25), rng.uniform(0, DAY), end)


def hours_apart(rng: Rng, end: float) -> Iterator[Event]:
    """A timer of 30 minutes to 12 hours."""
    every = _between(rng, HOUR / 2, 12 * HOUR)
    return _steps(lambda: every * rng.uniform(0.8, 1.25), rng.uniform(0, DAY), end)


def bursty(rng: Rng, end: float) -> Iterator[Event]:
    """Work arrives at random, every 1 to 10 minutes, and is done in bursts of up to 12 quick steps."""
    pause, quick = _between(rng, 1 * MINUTE, 10 * MINUTE), rng.uniform(1, 5)
    left = 0

    def gap() -> float:
        nonlocal left
        left = left - 1 if left else rng.randrange(12)
        return rng.expovariate(1 / quick) if left else rng.expovariate(1 / pause)

    return _steps(gap, rng.uniform(0, DAY), end)


def heavy_tailed(rng: Rng, end: float) -> Iterator[Event]:
    """Model calls: log-normal with a long tail, cut by the client's timeout of 10 minutes, at most three tries."""
    middle, spread = _between(rng, 20, 120), rng.uniform(0.8, 1.3)

    def gap() -> float:
        seconds = 0.0
        for _ in range(3):
            tried = rng.lognormvariate(math.log(middle), spread)
            seconds += min(tried, 10 * MINUTE)
            if tried < 10 * MINUTE:
                break
        return seconds

    return _steps(gap, rng.uniform(0, DAY), end)


def unbounded(rng: Rng, end: float) -> Iterator[Event]:
    """Like heavy tailed without a timeout: twice the longest gap so far always comes some day."""
    middle, spread = _between(rng, 10, 120), rng.uniform(0.9, 1.4)
    return _steps(lambda: rng.lognormvariate(math.log(middle), spread), rng.uniform(0, DAY), end)


def nightly_batch(rng: Rng, end: float) -> Iterator[Event]:
    """Once a day at the same hour, for 3 to 8 hours ± 1 %, with a step every 0.5 to 5 minutes."""
    return _batches(rng, end, 0.01)


def ragged_ends(rng: Rng, end: float) -> Iterator[Event]:
    """Like nightly batch, but its length varies by 20 %."""
    return _batches(rng, end, 0.2)


def office_hours(rng: Rng, end: float) -> Iterator[Event]:
    """Every day from about 8:00 to 18:00, when people ask for something."""
    return _sessions(_asked(rng), _offices(rng, range(_days(end))), end)


def weekends_off(rng: Rng, end: float) -> Iterator[Event]:
    """Like office hours, from Monday to Friday, starting on any weekday."""
    first = rng.randrange(7)
    days = [day for day in range(first, first + _days(end)) if day % 7 < 5]
    return _sessions(_asked(rng), _offices(rng, days), end + first * DAY)


def slow_start(rng: Rng, end: float) -> Iterator[Event]:
    """Restarts every day or two and loads for 5 to 40 minutes before its first step."""
    load, every = rng.uniform(5, 40) * MINUTE, _between(rng, 30, 5 * MINUTE)
    at = rng.uniform(0, DAY)
    while at < end:
        yield Event(at, "start")
        at += load * rng.uniform(0.7, 1.3)
        over = at + rng.uniform(0.5, 2) * DAY
        resumes = True
        while at < min(over, end):
            yield Event(at, resumes=resumes)
            resumes = False
            at += every * rng.lognormvariate(0, 0.3)


def long_tools(rng: Rng, end: float) -> Iterator[Event]:
    """A step every 0.5 to 3 minutes; every 15 to 60 minutes a tool runs silently for 3 to 30 minutes."""
    every, long, often = _between(rng, 30, 3 * MINUTE), rng.uniform(5, 20) * MINUTE, rng.uniform(24, 96)

    def gap() -> float:
        slow = rng.random() < often * every / DAY
        return long * rng.uniform(0.5, 1.5) if slow else every * rng.lognormvariate(0, 0.4)

    return _steps(gap, rng.uniform(0, DAY), end)


def waits(rng: Rng, end: float) -> Iterator[Event]:
    """A step every 0.5 to 10 minutes; several times a day a declared wait for approval of up to 8 hours."""
    every, often, at = _between(rng, 30, 10 * MINUTE), rng.uniform(2, 8), rng.uniform(0, DAY)
    resumes = False
    while at < end:
        yield Event(at, resumes=resumes)
        resumes = rng.random() < often * every / DAY
        if resumes:
            yield Event(at, "wait", at + 8 * HOUR)
            at += rng.uniform(0.05, 7.9) * HOUR
        at += every * rng.lognormvariate(0, 0.4)


KINDS: dict[str, Callable[[Rng, float], Iterator[Event]]] = {
    kind.__name__.replace("_", " "): kind
    for kind in (
        steady,
        bursty,
        heavy_tailed,
        nightly_batch,
        office_hours,
        weekends_off,
        slow_start,
        long_tools,
        waits,
        unbounded,
        ragged_ends,
        hours_apart,
    )
}
UNCOUNTED = ("unbounded", "ragged ends", "hours apart")


def _between(rng: Rng, least: float, most: float) -> float:
    """Log-uniform: each order of magnitude is equally likely."""
    return math.exp(rng.uniform(math.log(least), math.log(most)))


def _days(end: float) -> int:
    return int(end // DAY) + 1


def _steps(gap: Gap, at: float, end: float) -> Iterator[Event]:
    while at < end:
        yield Event(at)
        at += gap()


def _sessions(gap: Gap, sessions: Sequence[tuple[float, float]], end: float) -> Iterator[Event]:
    for begin, length in sessions:
        for place, event in enumerate(_steps(gap, max(0.0, begin), min(end, begin + length))):
            yield event._replace(resumes=not place)


def _batches(rng: Rng, end: float, spread: float) -> Iterator[Event]:
    begin, length, every = rng.uniform(0, 16) * HOUR, rng.uniform(3, 8) * HOUR, _between(rng, 30, 5 * MINUTE)
    starts = [day * DAY + begin + rng.uniform(0, 2) * MINUTE for day in range(_days(end))]
    days = [(start, length * rng.gauss(1, spread)) for start in starts]
    return _sessions(lambda: every * rng.lognormvariate(0, 0.4), days, end)


def _asked(rng: Rng) -> Gap:
    every = _between(rng, 30, 10 * MINUTE)
    return lambda: every * rng.lognormvariate(0, 0.5)


def _offices(rng: Rng, days: Sequence[int]) -> list[tuple[float, float]]:
    return [(day * DAY + rng.gauss(8, 0.03) * HOUR, rng.gauss(10, 0.05) * HOUR) for day in days]
