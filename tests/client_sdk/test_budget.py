from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import clevagent
import pytest
from clevagent import limits
from clevagent.budget import Budget

from tests.client_sdk.conftest import Clock


@pytest.fixture(autouse=True)
def without_sdks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "watch_models", lambda: None)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    limits._everywhere.clear()


def calls_until_stop(most: int = 50) -> int:
    for made in range(most):
        try:
            limits.start_call(None)
        except clevagent.BudgetExceeded:
            return made
    return most


def test_call_after_the_last_is_stopped() -> None:
    with Budget(calls=3) as budget:
        assert calls_until_stop() == 3
    assert budget.calls_made == 3
    assert calls_until_stop() == 50


def test_spent_money_stops_the_next_call() -> None:
    with Budget(usd=1) as budget:
        clevagent.log_cost(cost_usd=0.4)
        limits.start_call(None)
        clevagent.log_usage(model="gpt-4o-mini", provider="openai", input_tokens=4_000_000)
        with pytest.raises(clevagent.BudgetExceeded, match=r"\$1.00 of the budget of \$1.00 are spent"):
            limits.start_call(None)
    assert budget.usd_spent == 1.0


def test_minutes_count_from_the_first_use() -> None:
    clock = Clock()
    budget = Budget(minutes=30, clock=clock)
    clock.now += 7_200
    with budget:
        clock.now += 1_799
        limits.start_call(None)
        clock.now += 1
        with pytest.raises(clevagent.BudgetExceeded, match="all 30 minutes"):
            limits.start_call(None)


def test_call_seen_twice_counts_once() -> None:
    with Budget(usd=100) as budget:
        for _ in range(2):
            clevagent.log_usage(model="m", cost_usd=2.5, call_id="resp_0123456789abcdef")
    assert (budget.usd_spent, budget.calls_made) == (2.5, 1)


def test_unknown_price_is_not_guessed() -> None:
    with Budget(usd=0.01) as budget:
        clevagent.log_usage(model="my-own-model", input_tokens=9_000_000)
        limits.start_call(None)
    assert (budget.usd_spent, budget.unpriced_calls) == (0.0, 1)


def test_inner_block_counts_towards_both() -> None:
    with Budget(calls=5) as outer:
        with Budget(calls=2):
            assert calls_until_stop() == 2
        assert calls_until_stop() == 3
    assert outer.calls_made == 5


def test_tasks_count_towards_their_block() -> None:
    async def call() -> bool:
        await asyncio.sleep(0)
        try:
            limits.start_call(None)
        except clevagent.BudgetExceeded:
            return False
        return True

    async def run() -> list[bool]:
        async with Budget(calls=2):
            return await asyncio.gather(*(call() for _ in range(5)))

    assert sorted(asyncio.run(run())) == [False, False, False, True, True]


def test_threads_count_towards_the_only_block() -> None:
    with Budget(calls=10) as budget:
        _in_threads(2, lambda: limits.start_call(None))
    assert budget.calls_made == 2


def test_blocks_of_two_threads_stay_apart() -> None:
    made: list[int] = []
    both = threading.Barrier(2)

    def work() -> None:
        with Budget(calls=3):
            both.wait()
            made.append(calls_until_stop())
            both.wait()

    _in_threads(2, work)
    assert made == [3, 3]


def _in_threads(number: int, work: Any) -> None:
    threads = [threading.Thread(target=work) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_block_of_an_exception_ends() -> None:
    with pytest.raises(KeyError), Budget(calls=1):
        raise KeyError
    assert calls_until_stop() == 50


def test_budget_continues_when_used_again() -> None:
    budget = Budget(calls=3)
    with budget:
        limits.start_call(None)
    with budget:
        assert calls_until_stop() == 2


def test_own_calls_are_added() -> None:
    budget = Budget(usd=1, calls=5)
    budget.add(usd=0.25, calls=2)
    budget.check()
    assert (budget.usd_spent, budget.calls_made) == (0.25, 2)
    budget.add(usd=0.75)
    with pytest.raises(clevagent.Stop):
        budget.check()


@pytest.mark.parametrize("nonsense", [-1, float("nan"), float("inf"), "5", True, [], Decimal("NaN")])
@pytest.mark.parametrize("name", ["usd", "calls", "minutes"])
def test_nonsense_is_refused(name: str, nonsense: Any) -> None:
    with pytest.raises(ValueError, match=name):
        Budget(**{name: nonsense})


def test_zero_stops_the_first_call() -> None:
    with Budget(usd=0):
        assert calls_until_stop() == 0
