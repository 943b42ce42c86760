"""What an agent may spend, and how that stands: a day, its tokens, a run, its project's month. Pure.

Money is whole micro-dollars. A budget is nearly used up from 80 % on, the product's rule, and exceeded at 100 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final, NamedTuple, Protocol

DAY: Final = "day"
TOKENS: Final = "tokens"
RUN: Final = "run"
MONTH: Final = "month"
NEAR: Final = 0.8
WARNING: Final = "warning"
CRITICAL: Final = "critical"
# In place of names: the rule is switched off.
ALL_LIFTED: Final[dict[str, Any]] = {"all": []}


class Spends(Protocol):
    """The columns of the hot row that are held against budgets."""

    day: date | None
    tokens_today: int
    cost_today: int
    run_at: datetime | None
    run_cost: int


class Spend(NamedTuple):
    """Micro-dollars that count, and the part of them that the server priced; tokens without a known price."""

    cost: int = 0
    priced: int = 0
    unpriced: int = 0

    @property
    def reported(self) -> int:
        """What clients claimed."""
        return self.cost - self.priced


class Limits(NamedTuple):
    """Micro-dollars a day and a run, tokens a day. None: no limit."""

    day: int | None = None
    run: int | None = None
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Month:
    """What all agents of a project spent in a month of its own, whose first day is `first`, and may spend in it.

    `tells` is set for the one agent that warns of it for all; once it is exceeded, everyone says so.
    """

    first: date
    limit: int
    cost: int = 0
    priced: int = 0
    unpriced: int = 0
    tells: bool = True


class Budget(NamedTuple):
    """One of them. `period` names the day, the run or the month that it is of."""

    name: str
    used: int
    limit: int
    period: str

    @property
    def severity(self) -> str:
        """`warning`, `critical`, or empty. What costs nothing exceeds nothing."""
        if not self.used or self.used < self.limit * NEAR:
            return ""
        return CRITICAL if self.used >= self.limit else WARNING

    @property
    def share(self) -> float:
        return self.used / self.limit if self.limit else float(self.used)


def of(row: Spends, limits: Limits, today: date) -> list[Budget]:
    """An agent's own budgets, those that have a limit. What the row holds of yesterday is not of today."""
    if not any(limit is not None for limit in limits):
        return []
    is_today = row.day == today
    day, run = today.isoformat(), row.run_at.astimezone(UTC).isoformat() if row.run_at else ""
    all_of_them = [
        (DAY, row.cost_today if is_today else 0, limits.day, day),
        (TOKENS, row.tokens_today if is_today else 0, limits.tokens, day),
        (RUN, row.run_cost, limits.run, run),
    ]
    return [Budget(name, used, limit, period) for name, used, limit, period in all_of_them if limit is not None]


def of_month(month: Month) -> Budget:
    return Budget(MONTH, month.cost, month.limit, f"{month.first:%Y-%m}")


def lift(lifted: Mapping[str, Sequence[Any]] | None, standing: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
    """What a person has let pass, after these too: `[name, period, limit, severity]` each, as evidence holds them."""
    return {**{name: list(one) for name, one in (lifted or {}).items()}, **{name: rest for name, *rest in standing}}


def is_lifted(budget: Budget, lifted: Mapping[str, Sequence[Any]] | None) -> bool:
    """Whether a person let it pass: that period and limit, as bad as it was. Nearing it is not exceeding it."""
    if lifted == ALL_LIFTED:
        return True
    known = (lifted or {}).get(budget.name)
    if not known or list(known[:2]) != [budget.period, budget.limit]:
        return False
    return bool(known[2] in (budget.severity, CRITICAL))


def holds(found: Sequence[Budget], lifted: Mapping[str, Sequence[Any]] | None) -> bool:
    """Whether one of them is exceeded and nobody let it pass."""
    return any(one.severity == CRITICAL and not is_lifted(one, lifted) for one in found)
