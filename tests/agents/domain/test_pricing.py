"""Prices of a heartbeat's tokens, and tokens without a known price."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from genai_prices import Usage as Counts
from genai_prices import calc_price

from agents.domain import pricing
from agents.domain.heartbeat import Beat, Usage
from agents.domain.wire import sender_clock
from teams import prices

AT = datetime(2026, 5, 4, 12, tzinfo=UTC)
TOKENS = {"input_tokens": 10_000, "output_tokens": 1_000}


def spent(*uses: Usage, overrides: Any = (), at: datetime = AT, **fields: Any) -> pricing.Spent:
    beat = Beat(agent="bot", usage=list(uses) or None, **fields)
    return pricing.spent(beat, at, at.date(), prices.overrides(overrides))


def use(model: str = "gpt-4o", provider: str | None = "openai", **fields: Any) -> Usage:
    return Usage(model=model, provider=provider, **(TOKENS | fields))


LISTED = [
    ("gpt-4o", "openai"),
    ("gpt-4o-2024-08-06", "openai"),
    ("claude-sonnet-4-5", "anthropic"),
    ("gemini-2.5-pro", "google"),  # more expensive from the 200,001st token on
    ("gpt-4o-mini", None),
]


@pytest.mark.parametrize(("model", "provider"), LISTED)
@pytest.mark.parametrize("cached", [0, 4_000])
@pytest.mark.parametrize("size", [10_000, 300_000])
def test_known_models_use_the_price_list(model: str, provider: str | None, cached: int, size: int) -> None:
    counts: dict[str, Any] = {"input_tokens": size, "output_tokens": 1_234, "cache_read_tokens": cached}
    listed = calc_price(Counts(**counts), model, provider_id=provider, genai_request_timestamp=AT).total_price
    found = spent(Usage(model=model, provider=provider, **counts))
    assert (found.cost, found.priced) == (round(listed * 1_000_000), round(listed * 1_000_000))
    assert (found.unpriced, found.cost > 0) == ({}, True)


def test_price_is_as_of_the_time_of_the_call() -> None:
    cheap, dear = datetime(2026, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)
    now, then = (spent(use("o3"), at=at).cost for at in (cheap, dear))
    assert now < then


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("house-model", "openai"),
        ("llama-3.3-70b-instruct", "ibm.watsonx.ai"),
        ("", None),
        ("whisper-1", "openai"),
        ("gemma-3", "google"),
        ("gpt-4o", "cohere"),
    ],
)
def test_unknown_models_are_unpriced_not_free(model: str, provider: str | None) -> None:
    found = spent(use(model, provider), use())
    assert found.unpriced == {model or pricing.UNNAMED: 11_000}
    assert found.prices[0] is None
    assert found.cost == found.priced == spent(use()).cost > 0


def test_free_models_cost_nothing() -> None:
    found = spent(use("xingchen-agi/xing4.0-29b-a4b:free", "openrouter"))
    assert (found.cost, found.unpriced, found.prices) == (0, {}, (0,))


@pytest.mark.parametrize("provider", ["x_ai", "XAI", "x-ai", "xai"])
def test_provider_aliases(provider: str) -> None:
    assert spent(use("grok-4", provider)).priced > 0


def test_reported_cost_replaces_the_list_price() -> None:
    found = spent(use(cost_usd=0.5), use("house-model", cost_usd=0.25))
    assert (found.cost, found.priced, found.unpriced) == (750_000, 0, {})


def test_reported_zero_is_ignored() -> None:
    assert spent(use(cost_usd=0.0)).priced == spent(use()).priced
    assert spent(use("house-model", cost_usd=0.0)).unpriced == {"house-model": 11_000}


def test_custom_price_overrides_everything() -> None:
    own = [
        {"model": "gpt-4*", "input": 1, "output": "2.5"},
        {"model": "*", "provider": "house", "input": 0, "output": 0},
    ]
    found = spent(use(cost_usd=9.0), use("any", "house"), use("any", "other"), overrides=own)
    assert found.prices == (12_500, 0, None)
    assert (found.cost, found.priced, found.unpriced) == (12_500, 12_500, {"any": 11_000})


def test_custom_price_covers_cached_tokens() -> None:
    own = [{"model": "house", "input": 10, "output": 0, "cache_read": 1, "cache_write": 12.5}]
    cached = use("house", cache_read_tokens=6_000, cache_write_tokens=2_000)
    assert spent(cached, overrides=own).cost == 2_000 * 10 + 6_000 * 1 + 2_000 * 12.5
    assert spent(cached, overrides=[{**own[0], "cache_read": 10}]).cost == 4_000 * 2 * 10 + 2_000 * 12.5


def test_excess_cached_tokens_are_added_to_input() -> None:
    inclusive = use(input_tokens=10_000, cache_read_tokens=9_000, output_tokens=0)
    exclusive = use(input_tokens=1_000, cache_read_tokens=9_000, output_tokens=0)
    assert spent(exclusive).cost == spent(inclusive).cost > 0


def test_tokens_without_model_or_cost_are_unpriced() -> None:
    assert spent(tokens_used=500).unpriced == {pricing.UNNAMED: 500}
    assert spent(tokens_used=500, cost_usd=0.01).unpriced == {}
    assert spent(use(), tokens_used=500).tokens == 11_500


@pytest.mark.parametrize("usd", [0.1, 0.000001, 1.005, 999_999.999999, 0.0000004])
def test_dollars_convert_exactly(usd: float) -> None:
    assert pricing.in_micros(usd) == round(Decimal(str(usd)) * 1_000_000)


def test_many_unknown_models_share_one_entry() -> None:
    found = spent(*(use(f"house-{number}") for number in range(30)))
    assert len(found.unpriced) == pricing.MAX_MODELS + 1
    assert found.unpriced_tokens == 30 * 11_000


HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("sent", "at"),
    [
        (None, AT),
        (AT - HOUR, AT - HOUR),
        (AT + HOUR, AT),
        (AT - timedelta(days=8), AT - timedelta(days=7)),
        (datetime(1, 1, 1, tzinfo=UTC), AT - timedelta(days=7)),
        ((AT - HOUR).replace(tzinfo=None), AT),
    ],
)
def test_spend_time_is_bounded(sent: datetime | None, at: datetime) -> None:
    assert sender_clock.made_at(Beat(agent="bot", sent_at=sent), AT) == at


def test_clock_ahead_is_corrected_by_newest_heartbeat() -> None:
    beats = [Beat(agent="bot", sent_at=AT + timedelta(minutes=minutes)) for minutes in (-50, 10)]
    ahead = sender_clock.ahead(beats, AT)
    assert ahead == timedelta(minutes=10)
    assert [sender_clock.made_at(beat, AT, ahead) for beat in beats] == [AT - HOUR, AT]
    assert sender_clock.ahead(beats[:1], AT) == timedelta(0)


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ([], None),
        ([{"model": "x", "input": 0, "output": "0.25", "provider": "house"}], None),
        ({"model": "x"}, "Must be a list"),
        ([{"model": "x", "input": 1}], '1: "model", "input" and "output" are required'),
        ([{"model": "x", "input": 1, "output": -1}], "“output” must be"),
        ([{"model": "x", "input": 1, "output": True}], "“output” must be"),
        ([{"model": "x", "input": "much", "output": 1}], "“input” must be"),
        ([{"model": "x", "input": "NaN", "output": 1}], "“input” must be"),
        ([{"model": "", "input": 1, "output": 1}], "“model” must be"),
        ([{"model": "x", "input": 1, "output": 1, "price": 1}], "unknown field “price”"),
        ([{"model": "x", "input": 1, "output": 1}] * 101, "At most"),
    ],
)
def test_custom_prices_are_validated(written: Any, why: str | None) -> None:
    found = prices.problem(written)
    assert found is None if why is None else why in str(found)
