"""Counts between two heartbeats: exact totals, bounded details."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from clevagent.counters import MAX_CALLS, MAX_USAGE, Counters, decimal, merged, number, sums_of
from hypothesis import given
from hypothesis import strategies as st

CALL = {"model": "gpt-5", "provider": "openai", "input_tokens": 3, "output_tokens": 2}


def test_empty_counters_have_no_fields() -> None:
    assert Counters().is_empty
    assert Counters().to_fields() == {}


def test_tiny_amounts_add_up_exactly() -> None:
    counters = Counters()
    for _ in range(10_000):
        counters.spend(1, 0.1)
    assert counters.to_fields() == {"tokens_used": 10_000, "cost_usd": 1000.0}


def test_less_than_a_micro_dollar_is_carried_over() -> None:
    counters, sent = Counters(), Decimal(0)
    for _ in range(25):
        counters.spend(0, 0.0000004)
        sent += Decimal(str(counters.to_fields().get("cost_usd", 0)))
        counters = Counters(counters.spare)
    assert sent == Decimal("0.00001")
    assert counters.cost == 0


def test_excess_tool_calls_keep_their_count() -> None:
    counters = Counters()
    for number_ in range(MAX_CALLS + 7):
        counters.add_call({"name": f"tool{number_}"})
    sealed = counters.to_fields()
    assert sealed["tool_calls"] == MAX_CALLS + 7
    assert [call["name"] for call in sealed["tool_call_log"]] == [f"tool{n}" for n in range(7, MAX_CALLS + 7)]


def test_excess_model_calls_are_merged() -> None:
    counters = Counters()
    for _ in range(MAX_USAGE + 5):
        counters.add_usage(dict(CALL))
    sealed = counters.to_fields()["usage"]
    assert sealed[1:] == [CALL] * 5
    assert sealed[0]["calls"] == MAX_USAGE
    assert sum(use["input_tokens"] for use in sealed) == 3 * (MAX_USAGE + 5)


def test_calls_are_merged_within_one_price_only() -> None:
    """A long context, a tier or a region has a price of its own, so a sum over two of them has none."""
    counters = Counters()
    kinds: list[dict[str, Any]] = [
        {},
        {"service_tier": "batch"},
        {"region": "us"},
        {"input_tokens": 200_001},
        {"cost_usd": 0.1},
    ]
    for _ in range(MAX_USAGE):
        for kind in kinds:
            counters.add_usage({**CALL, **kind})
    sealed = counters.to_fields()["usage"]
    assert len(sealed) <= MAX_USAGE
    assert sum(use.get("calls", 1) for use in sealed) == len(kinds) * MAX_USAGE
    assert {use["input_tokens"] // use.get("calls", 1) for use in sealed} == {CALL["input_tokens"], 200_001}
    assert sum(use.get("calls", 1) for use in sealed if use.get("service_tier") == "batch") == MAX_USAGE


def test_excess_models_are_still_counted() -> None:
    counters = Counters()
    for place in range(MAX_USAGE + 1):
        counters.add_usage({**CALL, "model": f"m{place}", "cost_usd": 0.1})
    sealed = counters.to_fields()["usage"]
    assert len(sealed) == MAX_USAGE
    assert sealed[-1]["cost_usd"] == 0.2


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf"), "many", object(), [], None])
def test_invalid_counts_become_zero(wrong: Any) -> None:
    assert number("tokens", wrong) == 0
    assert decimal("cost_usd", wrong) == 0


BEATS = st.fixed_dictionaries(
    {},
    optional={
        "tokens_used": st.integers(1, 10**9),
        "tool_calls": st.integers(1, 1000),
        "cost_usd": st.decimals("0.000001", "1000", places=6).map(float),
        "usage": st.lists(st.just(CALL), min_size=1, max_size=MAX_USAGE).map(lambda uses: [dict(use) for use in uses]),
        "message": st.text(max_size=5),
        "status": st.sampled_from(["ok", "warning", "error", "shutdown"]),
    },
)


@given(BEATS, BEATS)
def test_merged_heartbeats_add_their_totals(older: dict[str, Any], newer: dict[str, Any]) -> None:
    both = merged(older, newer)
    for name in ("tokens_used", "tool_calls"):
        assert both.get(name, 0) == older.get(name, 0) + newer.get(name, 0)
    assert cost(both) == cost(older) + cost(newer)
    assert used(both) == used(older) + used(newer)
    assert len(both.get("usage", [])) <= MAX_USAGE


def cost(beat: dict[str, Any]) -> Decimal:
    return Decimal(str(beat.get("cost_usd", 0)))


def used(beat: dict[str, Any]) -> int:
    return sum(use["input_tokens"] for use in beat.get("usage", []))


@pytest.mark.parametrize(
    ("older", "newer", "message"),
    [("error", "ok", "first"), ("warning", "ok", "first"), ("ok", "error", "second"), ("ok", "ok", "second")],
)
def test_merging_keeps_an_error(older: str, newer: str, message: str) -> None:
    both = merged({"status": older, "message": "first"}, {"status": newer, "message": "second"})
    assert both["status"] == max(older, newer, key=["ok", "warning", "error"].index)
    assert both["message"] == message


def test_totals_survive_without_details() -> None:
    beat = {"cost_usd": 2.5, "tokens_used": 7, "message": "x", "custom_data": "{", "usage": [{**CALL, "odd": "\0"}]}
    assert sums_of(beat) == {"cost_usd": 2.5, "tokens_used": 7, "usage": [CALL]}
