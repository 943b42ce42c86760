"""The reason of a budget finding, as one sentence. Pure."""

from __future__ import annotations

from typing import Final

from agents.domain import instances
from agents.domain.budgets import DAY, MONTH, RUN, TOKENS, Budget
from agents.domain.durations import time_of_day
from agents.domain.money import dollars
from agents.rules.facts import Facts
from agents.rules.spending import forecast

MODELS_NAMED: Final = 2
MAX_REASON: Final = 500
# From this share of the project's spend on, an agent's rate is the project's.
MOST: Final = 0.95
# From this many times the usual rate on, the reason says so.
FAST: Final = 2.0


def reason(budget: Budget, facts: Facts) -> str:
    """`Spent $41.20 of $50.00 today; at the last hour's rate the budget will be used up at 16:40`."""
    return f"{_spent(budget, facts)}{_rate(budget, facts)}{without_price(budget, facts)}"[:MAX_REASON]


def _spent(budget: Budget, facts: Facts) -> str:
    if budget.name == TOKENS:
        return f"Used {budget.used:,} of {budget.limit:,} tokens today"
    amount = f"{dollars(budget.used)} of {dollars(budget.limit)}"
    if budget.name == MONTH:
        part = f", {dollars(facts.row.cost_month)} of it by this agent" if forecast.is_this_month(facts) else ""
        return f"The project has spent {amount} this month{part}"
    return f"Spent {amount} {'today' if budget.name == DAY else 'in this run' + _run_start(facts)}"


def _run_start(facts: Facts) -> str:
    begun = instances.worst_run(facts.row).at
    return f" (since {time_of_day(begun, facts.zone, facts.now)})" if begun else ""


def _rate(budget: Budget, facts: Facts) -> str:
    """The forecast; without one, the part of the last hour."""
    times = forecast.pace(facts).times_usual or 0.0
    fast = f"{times:.0f} times the usual" if times >= FAST and budget.name != MONTH else ""
    used_up = forecast.used_up(budget, facts)
    if used_up is not None:
        at = time_of_day(used_up.at, facts.zone, facts.now)
        return f"; at {_whose_rate(budget, facts)}{f' ({fast})' if fast else ''} the budget will be used up at {at}" + (
            f", at that of its fastest 5 minutes at {time_of_day(used_up.earliest, facts.zone, facts.now)}"
            if used_up.earliest
            else ""
        )
    return _last_hour(budget, facts) + (f", {fast}" if fast else "")


def _whose_rate(budget: Budget, facts: Facts) -> str:
    is_all = budget.name != MONTH or forecast.share_of_month(facts) >= MOST
    return "the last hour’s rate" if is_all else "the rate of this agent’s last hour, with the others in proportion,"


def _last_hour(budget: Budget, facts: Facts) -> str:
    pace = forecast.pace(facts)
    used = pace.tokens if budget.name == TOKENS else pace.cost
    if budget.name not in (DAY, RUN, TOKENS) or not 0 < used < budget.used:
        return ""
    return f", {f'{used:,}' if budget.name == TOKENS else dollars(used)} of it in the last hour"


def without_price(budget: Budget, facts: Facts) -> str:
    """An unknown price is not zero, so unpriced tokens are named beside the sum they are missing from."""
    tokens = forecast.spend(budget, facts).unpriced
    if not tokens or budget.name == TOKENS:
        return ""
    by_model = forecast.unpriced_models(facts) if budget.name == DAY else {}
    models = sorted(by_model, key=lambda name: -by_model[name])
    named = f" ({', '.join(models[:MODELS_NAMED])}{' …' if len(models) > MODELS_NAMED else ''})" if models else ""
    return f"; plus {tokens:,} tokens without a known price{named}"
