"""When a budget will be used up, when it resets, and how much of it is priced. Pure.

Forecasts use the rate of the last hour (`observers/burn_rate.py`); for a month, the average of the month so far.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Final

from agents.domain import instances
from agents.domain.budgets import CRITICAL, MONTH, RUN, TOKENS, Budget, Month, Spend
from agents.rules.facts import Facts
from agents.rules.observers import burn_rate

# A month's average means nothing earlier in the month.
MONTH_BEGUN: Final = timedelta(days=1)
MAX_HOURS: Final = 24 * 366


def pace(facts: Facts) -> burn_rate.Pace:
    return burn_rate.pace(facts.state, facts.now)


def used_up_at(budget: Budget, facts: Facts) -> datetime | None:
    """When the budget will be used up at the current rate; None if it lasts, or if it is too early to say."""
    if budget.severity == CRITICAL:
        return None
    per_hour = _per_hour(budget, facts)
    hours = (budget.limit - budget.used) / per_hour if per_hour else None
    if hours is None or hours > MAX_HOURS:
        return None
    used_up, resets = facts.now + timedelta(hours=hours), resets_at(budget, facts)
    return used_up if resets is None or used_up < resets else None


def _per_hour(budget: Budget, facts: Facts) -> float:
    if budget.name != MONTH or facts.month is None:
        rate = pace(facts)
        return rate.tokens_an_hour if budget.name == TOKENS else rate.cost_an_hour
    gone = facts.now - _midnight(facts.month.first, facts)
    return budget.used / (gone.total_seconds() / 3_600) if gone >= MONTH_BEGUN else 0.0


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
