"""How fast an agent spends, and how fast it usually does. No rule of its own: the forecast of `cost.py`.

The pace is that of the last hour, in steps of five minutes; of an agent that has just begun to spend it is that since
then, and there is none before ten minutes of it are known. What is usual is the median of the last 14 days' pace, each
taken over the hours in which the agent spent at all, so that nights and idle days make nothing look fast; it is known
after three such days. The numbers are choices of ours: an hour is short enough to forecast an afternoon and long enough
that one dear call does not make a trend; the median forgets a bad day or two.

Memory: `steps` (five minutes since 1970, micro-dollars, tokens) of two hours, `days` (day since 1970, micro-dollars,
a bit for each hour in which it spent) of 15; 1.5 KB at most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from statistics import median
from typing import Any, Final, NamedTuple

from agents.rules.facts import BeatSeen

STEP: Final = 300
HOUR: Final = 3_600
DAY: Final = 86_400
STEPS_KEPT: Final = 2 * HOUR // STEP
DAYS_KEPT: Final = 15
DAYS_NEEDED: Final = 3
LEAST: Final = 600


class Pace(NamedTuple):
    """Micro-dollars and tokens of the last hour, and what that makes an hour; `usual` is micro-dollars an hour."""

    cost: int = 0
    tokens: int = 0
    cost_an_hour: float = 0.0
    tokens_an_hour: float = 0.0
    usual: float | None = None

    @property
    def times_usual(self) -> float | None:
        return self.cost_an_hour / self.usual if self.usual else None


def read(memory: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Count the money and the tokens of new heartbeats to the step and the day they were spent in."""
    steps = {step: [cost, tokens] for step, cost, tokens in memory.get("steps", ())}
    days = {day: [cost, hours] for day, cost, hours in memory.get("days", ())}
    for beat in beats:
        if beat.cost or beat.tokens:
            at = int((beat.spent_at or beat.received_at).timestamp())
            step = steps.setdefault(at // STEP, [0, 0])
            steps[at // STEP] = [step[0] + beat.cost, step[1] + beat.tokens]
        if beat.cost:
            day = days.setdefault(at // DAY, [0, 0])
            days[at // DAY] = [day[0] + beat.cost, day[1] | 1 << at % DAY // HOUR]
    return {**memory, "steps": _newest(steps, STEPS_KEPT), "days": _newest(days, DAYS_KEPT)}


def _newest(found: Mapping[int, list[int]], kept: int) -> list[list[int]]:
    """Those of the last so many, counted from the newest one."""
    last = max(found, default=0)
    return [[key, *found[key]] for key in sorted(found) if key > last - kept]


def pace(memory: Mapping[str, Any], now: datetime) -> Pace:
    """How fast it spends at `now`. All zero where it is too early to say."""
    at = now.timestamp()
    steps = [one for one in memory.get("steps", ()) if one[0] * STEP <= at]
    last_hour = [one for one in steps if (one[0] + 1) * STEP > at - HOUR]
    cost, tokens = sum(one[1] for one in last_hour), sum(one[2] for one in last_hour)
    seconds = HOUR if len(last_hour) < len(steps) else at - min((one[0] * STEP for one in steps), default=at)
    share = HOUR / seconds if seconds >= LEAST else 0.0
    return Pace(cost, tokens, cost * share, tokens * share, _usual(memory, int(at // DAY)))


def _usual(memory: Mapping[str, Any], today: int) -> float | None:
    paces = [cost / hours.bit_count() for day, cost, hours in memory.get("days", ()) if day < today]
    return median(paces) if len(paces) >= DAYS_NEEDED else None
