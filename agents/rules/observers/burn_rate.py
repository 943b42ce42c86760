"""How fast an agent spends, and how fast it usually does. Not a rule itself: the budget rule forecasts with it.

The pace is the spend of the last hour, in steps of five minutes. An agent that has just begun to spend is measured
since then, once ten minutes are known. The usual pace is the median of the last 14 days, each averaged over the hours
with any spend, so nights and idle days make nothing look fast; it is known after three such days. We chose the numbers:
an hour is short enough to forecast an afternoon and long enough that one expensive call is no trend; a median ignores a
bad day or two.

State, at most 1.5 KB: `steps` (five-minute step since 1970, micro-dollars, tokens) for two hours, `days` (day since
1970, micro-dollars, a bit per hour with spend) for 15 days.
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
MIN_SECONDS: Final = 600


class Step(NamedTuple):
    """Five minutes of spend, in the order in which it is stored; `number` counts steps since 1970."""

    number: int
    cost: int
    tokens: int

    @property
    def begins_at(self) -> int:
        return self.number * STEP


class Pace(NamedTuple):
    """Micro-dollars and tokens of the last hour, and the hourly rates: on average, and of its fastest five minutes.

    `usual` is micro-dollars per hour.
    """

    cost: int = 0
    tokens: int = 0
    cost_an_hour: float = 0.0
    tokens_an_hour: float = 0.0
    fastest_cost_an_hour: float = 0.0
    fastest_tokens_an_hour: float = 0.0
    usual: float | None = None

    @property
    def times_usual(self) -> float | None:
        return self.cost_an_hour / self.usual if self.usual else None


def read(state: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Add new heartbeats' cost and tokens to the step and the day in which they were spent."""
    steps = {step: [cost, tokens] for step, cost, tokens in state.get("steps", ())}
    days = {day: [cost, hours] for day, cost, hours in state.get("days", ())}
    for beat in beats:
        at = int((beat.spent_at or beat.received_at).timestamp())
        if beat.cost or beat.tokens:
            cost, tokens = steps.get(at // STEP, (0, 0))
            steps[at // STEP] = [cost + beat.cost, tokens + beat.tokens]
        if beat.cost:
            cost, hours = days.get(at // DAY, (0, 0))
            days[at // DAY] = [cost + beat.cost, hours | 1 << at % DAY // HOUR]
    return {**state, "steps": _newest(steps, STEPS_KEPT), "days": _newest(days, DAYS_KEPT)}


def _newest(by_number: Mapping[int, list[int]], kept: int) -> list[list[int]]:
    """Entries of the last `kept` steps or days, counted from the newest."""
    last = max(by_number, default=0)
    return [[number, *by_number[number]] for number in sorted(by_number) if number > last - kept]


def pace(state: Mapping[str, Any], now: datetime) -> Pace:
    """How fast the agent spends at `now`; all zero where it is too early to say."""
    at = now.timestamp()
    steps = [step for step in (Step(*stored) for stored in state.get("steps", ())) if step.begins_at <= at]
    last_hour = [step for step in steps if step.begins_at + STEP > at - HOUR]
    cost, tokens = sum(step.cost for step in last_hour), sum(step.tokens for step in last_hour)
    seconds = HOUR if len(last_hour) < len(steps) else at - min((step.begins_at for step in steps), default=at)
    factor = HOUR / seconds if seconds >= MIN_SECONDS else 0.0
    return Pace(
        cost=cost,
        tokens=tokens,
        cost_an_hour=cost * factor,
        tokens_an_hour=tokens * factor,
        fastest_cost_an_hour=max((step.cost for step in last_hour), default=0) * HOUR / STEP if factor else 0.0,
        fastest_tokens_an_hour=max((step.tokens for step in last_hour), default=0) * HOUR / STEP if factor else 0.0,
        usual=_usual(state, int(at // DAY)),
    )


def _usual(state: Mapping[str, Any], today: int) -> float | None:
    paces = [cost / hours.bit_count() for day, cost, hours in state.get("days", ()) if day < today]
    return median(paces) if len(paces) >= DAYS_NEEDED else None
