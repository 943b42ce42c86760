"""What providers bill besides input and output. Sums are worked by hand from the providers' price pages."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from genai_prices import Usage as Counts
from genai_prices import calc_price
from hypothesis import given
from hypothesis import strategies as st

from agents.domain.heartbeat import Usage
from agents.domain.price_list.rates import custom_price, list_price
from teams import prices

AT = datetime(2026, 5, 4, 12, tzinfo=UTC)
SONNET = "claude-sonnet-4-5"


def price(model: str = SONNET, provider: str | None = "anthropic", **fields: Any) -> float | None:
    found = list_price(Usage(model=model, provider=provider, **fields), AT)
    return None if found is None else float(found)


def test_cache_writes_for_an_hour_cost_twice_the_input() -> None:
    """Sonnet 4.5 per million: input $3, output $15, cache write $3.75 for 5 minutes, $6 for an hour, read $0.30."""
    counts: dict[str, Any] = {
        "input_tokens": 100_000, "cache_read_tokens": 60_000, "cache_write_tokens": 30_000, "output_tokens": 2_000,
    }  # fmt: skip
    five_minutes = 0.01 * 3 + 0.06 * 0.30 + 0.03 * 3.75 + 0.002 * 15
    assert price(**counts) == pytest.approx(five_minutes)
    hour = 0.01 * 3 + 0.06 * 0.30 + 0.01 * 3.75 + 0.02 * 6 + 0.002 * 15
    assert price(**counts, cache_write_1h_tokens=20_000) == pytest.approx(hour)


def test_audio_tokens_have_their_own_price() -> None:
    """gpt-audio per million: text $2.50 in and $10 out, audio $32 in and $64 out."""
    counts: dict[str, Any] = {
        "input_tokens": 1_000,
        "input_audio_tokens": 800,
        "output_tokens": 500,
        "output_audio_tokens": 400,
    }
    by_hand = (200 * 2.50 + 800 * 32 + 100 * 10 + 400 * 64) / 1_000_000
    assert price("gpt-audio", "openai", **counts) == pytest.approx(by_hand)


def test_transcription_costs_by_the_minute() -> None:
    """whisper-1: $0.006 a minute."""
    assert price("whisper-1", "openai", audio_seconds=600) == pytest.approx(0.06)


def test_web_searches_cost_extra() -> None:
    """Anthropic: $10 for 1,000 searches."""
    counts: dict[str, Any] = {"input_tokens": 1_000, "output_tokens": 100}
    more = (price(**counts, web_searches=3) or 0) - (price(**counts) or 0)
    assert more == pytest.approx(0.03)


@pytest.mark.parametrize(
    ("tier", "provider", "model", "factor"),
    [
        ("batch", "anthropic", SONNET, 0.5),
        ("batch", "openai", "gpt-4o", 0.5),
        ("BATCH", "google", "gemini-2.5-flash", 0.5),
        ("flex", "openai", "gpt-5", 0.5),
        ("default", "openai", "gpt-4o", 1),
        ("standard", "anthropic", SONNET, 1),
        ("auto", "openai", "gpt-4o", 1),
    ],
)
def test_service_tiers_change_the_price(tier: str, provider: str, model: str, factor: float) -> None:
    counts: dict[str, Any] = {"input_tokens": 10_000, "output_tokens": 1_000}
    usual = price(model, provider, **counts)
    assert usual
    assert price(model, provider, **counts, service_tier=tier) == pytest.approx(usual * factor)


@pytest.mark.parametrize(
    "fields",
    [
        {"service_tier": "priority"},
        {"service_tier": "flex"},
        {"service_tier": "scale"},
        {"region": "mars"},
        {"input_audio_tokens": 10},
        {"output_audio_tokens": 10},
        {"output_image_tokens": 10},
        {"audio_seconds": 10},
    ],
)
def test_what_no_list_has_is_not_priced(fields: dict[str, Any]) -> None:
    assert price(input_tokens=10_000, output_tokens=1_000, **fields) is None


def test_regional_calls_cost_a_tenth_more() -> None:
    usual = price(input_tokens=10_000)
    assert usual
    assert price(input_tokens=10_000, region="us") == pytest.approx(usual * 1.1)
    assert price(input_tokens=10_000, region="global") == usual


def test_size_of_each_call_decides_the_tier() -> None:
    """Thirty calls of 20,000 tokens are no call of 600,000: Gemini 2.5 Pro costs twice as much beyond 200,000."""
    counts: dict[str, Any] = {"input_tokens": 600_000, "output_tokens": 6_000}
    one, thirty = (price("gemini-2.5-pro", "google", **counts, calls=calls) for calls in (1, 30))
    assert thirty == pytest.approx(0.6 * 1.25 + 0.006 * 10)
    assert one == pytest.approx(0.6 * 2.50 + 0.006 * 15)


PRICED = st.sampled_from(
    [(SONNET, "anthropic"), ("gpt-4o", "openai"), ("gemini-2.5-pro", "google"), ("grok-4", "x-ai")]
)
COUNT = st.integers(0, 300_000)


@given(PRICED, COUNT, COUNT, COUNT)
def test_list_prices_are_those_of_the_list(model: tuple[str, str], uncached: int, output: int, cached: int) -> None:
    counts: dict[str, Any] = {"input_tokens": uncached + cached, "output_tokens": output, "cache_read_tokens": cached}
    listed = calc_price(Counts(**counts), model[0], provider_id=model[1], genai_request_timestamp=AT).total_price
    found = list_price(Usage(model=model[0], provider=model[1], **counts), AT)
    assert (found or Decimal(0)) == pytest.approx(listed)


def test_free_variants_cost_nothing() -> None:
    assert price("meta-llama/llama-3.3-70b-instruct:free", "openrouter", input_tokens=10) == 0
    assert price("somebody/new-model:free", "my-gateway", input_tokens=10) == 0


def test_custom_prices_have_details_too() -> None:
    own = prices.overrides(
        [{"model": "house", "input": 10, "output": 20, "cache_write": 12, "cache_write_1h": 16, "input_audio": 40}]
    )[0]
    use = Usage(
        model="house", input_tokens=100, cache_write_tokens=50, cache_write_1h_tokens=30, output_tokens=10,
        input_audio_tokens=20, output_audio_tokens=5,
    )  # fmt: skip
    by_hand = 30 * 10 + 20 * 40 + 20 * 12 + 30 * 16 + 10 * 20
    assert custom_price(use, own) == Decimal(by_hand) / 1_000_000


def test_custom_price_of_a_tier() -> None:
    own = prices.overrides(
        [
            {"model": "gpt-5", "tier": "priority", "input": 2.5, "output": 20},
            {"model": "gpt-5", "input": 1, "output": 1},
        ]
    )
    assert [each.matches("gpt-5", "openai", "priority") for each in own] == [True, True]
    assert [each.matches("gpt-5", "openai", "default") for each in own] == [False, True]
    assert [each.matches("gpt-5", "openai", None) for each in own] == [False, True]
