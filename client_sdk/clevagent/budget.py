"""A local budget in US dollars, model calls or minutes. Needs no server."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from clevagent import limits
from clevagent.limits import Limit
from clevagent.log import warn_once
from clevagent.stops import BudgetExceeded

UNPRICED = "clevagent: calls of a model without a known price do not count towards Budget(usd=…)"


class Budget(Limit):
    """Stops a program before the model call that follows an exceeded budget.

        with clevagent.Budget(usd=5, calls=200, minutes=30) as budget:
            agent.run()
        print(budget.usd_spent)

    `usd`: US dollars; `calls`: model calls; `minutes`: since the first use. What is left out has no limit. Captured
    calls are priced with the SDK's own list, `log_cost()` and `log_usage(cost_usd=…)` count as reported. A call without
    a known price counts as a call, not as money.

    Raises BudgetExceeded from the model call, or from `check()`. Raises ValueError for anything but numbers of at least
    0. A budget can be used again; it then continues.
    """

    def __init__(
        self,
        usd: float | None = None,
        calls: int | None = None,
        minutes: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.usd, self.calls, self.minutes = _limit("usd", usd), _limit("calls", calls), _limit("minutes", minutes)
        self._clock = clock
        self._since: float | None = None
        self._spent = Decimal(0)
        self.calls_made = 0
        self.unpriced_calls = 0

    @property
    def usd_spent(self) -> float:
        """US dollars spent so far."""
        return float(self._spent)

    @property
    def minutes_used(self) -> float:
        """Minutes since the first use."""
        return 0.0 if self._since is None else (self._clock() - self._since) / 60

    def add(self, usd: float = 0.0, calls: int = 0) -> None:
        """Count spend and calls that the SDK does not see, such as those of a provider without an SDK."""
        money, number = _limit("usd", usd), _limit("calls", calls)
        with limits.locked():
            self._spent += Decimal(str(money or 0))
            self.calls_made += int(number or 0)

    def check(self) -> None:
        self._begin()
        if self.usd is not None and self._spent >= Decimal(str(self.usd)):
            raise BudgetExceeded(f"${self._spent:.2f} of the budget of ${self.usd:.2f} are spent")
        if self.calls is not None and self.calls_made >= self.calls:
            raise BudgetExceeded(f"all {self.calls:g} model calls of the budget are made")
        if self.minutes is not None and self.minutes_used >= self.minutes:
            raise BudgetExceeded(f"all {self.minutes:g} minutes of the budget have passed")

    def starts_call(self, messages: Any) -> None:
        self.calls_made += 1

    def uses(self, usd: Decimal | None) -> None:
        if usd is not None:
            self._spent += usd
            return
        self.unpriced_calls += 1
        if self.usd is not None:
            warn_once(UNPRICED)

    def _begin(self) -> None:
        if self._since is None:
            self._since = self._clock()

    def __enter__(self) -> Budget:
        self._begin()
        return super().__enter__()


def _limit(name: str, value: Any) -> float | None:
    if value is None:
        return None
    number = float(value) if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool) else math.nan
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{name}={value!r} is not a number of at least 0.")
    return number
