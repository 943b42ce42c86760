"""Budgets: limits on an agent's day, its tokens per day, its run, and its project's month. Pure.

Money is whole micro-dollars. A budget warns at 80 % and is exceeded at 100 %; both are product decisions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import UTC, date
from typing import Any, Final, NamedTuple, Protocol

from agents.domain import instances

DAY: Final = "day"
TOKENS: Final = "tokens"
RUN: Final = "run"
MONTH: Final = "month"
NEAR: Final = 0.8
WARNING: Final = "warning"
CRITICAL: Final = "critical"
# Stored in place of budget names while the budget rule is off.
ALL_WAIVED: Final[dict[str, Any]] = {"all": []}


class SpendColumns(instances.Runs, Protocol):
    """The hot-row columns that budgets are checked against."""

    day: date | None
    tokens_today: int
    cost_today: int


class Spend(NamedTuple):
    """`cost` counts against budgets; `priced` is the part the server priced. `unpriced` are tokens without a price."""

    cost: int = 0
    priced: int = 0
    unpriced: int = 0

    @property
    def reported(self) -> int:
        """The part that clients reported."""
        return self.cost - self.priced


class Limits(NamedTuple):
    """Micro-dollars per day and per run, tokens per day. None: no limit."""

    day: int | None = None
    run: int | None = None
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Month:
    """A project's spend and budget in the month that begins on `first`.

    `warns` is set for the one agent that warns on behalf of all. Once the budget is exceeded, every agent reports it.
    """

    first: date
    limit: int
    _: KW_ONLY
    cost: int = 0
    priced: int = 0
    unpriced: int = 0
    warns: bool = True


class BudgetRecord(NamedTuple):
    """A budget as evidence and waivers store it, in this order. `period` names a day, a run or a month."""

    name: str
    period: str
    limit: float
    severity: str


class Budget(NamedTuple):
    """How much of one budget is used. `period` names the day, the run or the month it covers."""

    name: str
    used: int
    limit: int
    period: str

    @property
    def severity(self) -> str:
        """`warning`, `critical`, or empty. Without any spend nothing is exceeded, not even a budget of zero."""
        if not self.used or self.used < self.limit * NEAR:
            return ""
        return CRITICAL if self.used >= self.limit else WARNING

    @property
    def share(self) -> float:
        return self.used / self.limit if self.limit else float(self.used)

    @property
    def record(self) -> BudgetRecord:
        return BudgetRecord(self.name, self.period, self.limit, self.severity)


def agent_budgets(row: SpendColumns, limits: Limits, today: date) -> list[Budget]:
    """An agent's own budgets, as far as they have a limit. The row may still hold yesterday's sums."""
    budgets = []
    is_today, day = row.day == today, today.isoformat()
    if limits.day is not None:
        budgets.append(Budget(DAY, row.cost_today if is_today else 0, limits.day, day))
    if limits.tokens is not None:
        budgets.append(Budget(TOKENS, row.tokens_today if is_today else 0, limits.tokens, day))
    if limits.run is not None:
        run = instances.worst_run(row)
        begun = run.at.astimezone(UTC).isoformat() if run.at else ""
        budgets.append(Budget(RUN, run.cost, limits.run, begun))
    return budgets


def month_budget(month: Month) -> Budget:
    return Budget(MONTH, month.cost, month.limit, f"{month.first:%Y-%m}")


def records_in(evidence: Mapping[str, Any]) -> list[BudgetRecord]:
    """The budgets that a finding is about, the worst first."""
    return [BudgetRecord(*record) for record in evidence.get("budgets", ())]


def waive(waived: Mapping[str, Sequence[Any]] | None, records: Iterable[BudgetRecord]) -> dict[str, list[Any]]:
    """Add these to the budgets a person waived, stored as `{name: [period, limit, severity]}`."""
    known = {name: list(waiver) for name, waiver in (waived or {}).items()}
    return known | {record.name: [record.period, record.limit, record.severity] for record in records}


def is_waived(record: BudgetRecord, waived: Mapping[str, Sequence[Any]] | None) -> bool:
    """Whether a person waived this budget: same period, same limit and at least as severe."""
    if waived == ALL_WAIVED:
        return True
    waiver = (waived or {}).get(record.name)
    if not waiver:
        return False
    period, limit, severity = waiver
    return (period, limit) == (record.period, record.limit) and severity in (record.severity, CRITICAL)


def require_hold(budgets: Sequence[Budget], waived: Mapping[str, Sequence[Any]] | None) -> bool:
    """Whether any budget is exceeded and not waived."""
    return any(budget.severity == CRITICAL and not is_waived(budget.record, waived) for budget in budgets)
