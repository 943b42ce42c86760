"""When a budget will be used up, when it resets, and how much of it is priced. Pure.

Forecasts use the rate of the last hour (`observers/burn_rate.py`), never an average over days: it says nothing about a
project that began half an hour ago. Where the spend is unsteady, they also say how early it may be.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Final, NamedTuple

from agents.domain import instances
from agents.domain.budgets import CRITICAL, MONTH, RUN, TOKENS, Budget, Month, Spend
from agents.rules.facts import Facts
from agents.rules.observers import burn_rate

MAX_HOURS: Final = 24 * 366
# From this many times the average rate on, the fastest five minutes are worth a second forecast.
UNSTEADY: Final = 1.5


class Forecast(NamedTuple):
    """When a budget will be used up at the average rate of the last hour, and at that of its fastest five minutes.

    `earliest` is None where the two are close: then the spend is steady and one time says it all.
    """

    at: datetime
    earliest: datetime | None


def pace(facts: Facts) -> burn_rate.Pace:
    return burn_rate.pace(facts.state, facts.now)


def used_up(budget: Budget, facts: Facts) -> Forecast | None:
    """When the budget will be used up; None if it lasts at the current rate, or if it is too early to say."""
    if budget.severity == CRITICAL:
        return None
    rate, fastest = _rates(budget, facts)
    at = _reached_at(budget, facts, rate)
    if at is None:
        return None
    return Forecast(at, _reached_at(budget, facts, fastest) if fastest >= rate * UNSTEADY else None)


def _reached_at(budget: Budget, facts: Facts, per_hour: float) -> datetime | None:
    hours = (budget.limit - budget.used) / per_hour if per_hour else None
    if hours is None or hours > MAX_HOURS:
        return None
    reached, resets = facts.now + timedelta(hours=hours), resets_at(budget, facts)
    return reached if resets is None or reached < resets else None


def _rates(budget: Budget, facts: Facts) -> tuple[float, float]:
    """Per hour: the average of the last hour, and the fastest five minutes of it."""
    own = pace(facts)
    if budget.name == TOKENS:
        return own.tokens_an_hour, own.fastest_tokens_an_hour
    share = share_of_month(facts) if budget.name == MONTH else 1.0
    return (own.cost_an_hour / share, own.fastest_cost_an_hour / share) if share else (0.0, 0.0)


def share_of_month(facts: Facts) -> float:
    """This agent's part of the project's spend this month: the others are expected to go on in proportion."""
    if facts.month is None or not facts.month.cost or not is_this_month(facts):
        return 0.0
    return min(1.0, facts.row.cost_month / facts.month.cost)


def is_this_month(facts: Facts) -> bool:
    day = facts.row.day
    return day is not None and day.replace(day=1) == facts.today.replace(day=1)


def resets_at(budget: Budget, facts: Facts) -> datetime | None:
    """When the budget's period ends; None for a run, which ends when the client is restarted."""
    if budget.name == RUN:
        return None
    if budget.name == MONTH and facts.month:
        return _midnight(_next_month(facts.month), facts)
    return _midnight(facts.today + timedelta(days=1), facts)


def _next_month(month: Month) -> date:
    return (month.first + timedelta(days=31)).replace(day=1)


def _midnight(day: date, facts: Facts) -> datetime:
    return datetime.combine(day, time.min, facts.zone)


def spend(budget: Budget, facts: Facts) -> Spend:
    """The spend in the budget's period."""
    row, month = facts.row, facts.month
    if budget.name == MONTH and month:
        return Spend(month.cost, month.priced, month.unpriced)
    if budget.name == RUN:
        return Spend(*instances.worst_run(row)[1:])
    return Spend(row.cost_today, row.priced_today, sum(unpriced_models(facts).values()))


def unpriced_models(facts: Facts) -> Mapping[str, int]:
    """Today's tokens without a known price, by model."""
    return facts.row.unpriced or {} if facts.row.day == facts.today else {}
