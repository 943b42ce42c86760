from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import genai_prices
import pytest
from clevagent.price_list import PRICES
from clevagent.prices import price_of

from tests.client_sdk import price_list

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
TOKENS = {"input_tokens": 300_000, "output_tokens": 7_000, "cache_read_tokens": 100_000, "cache_write_tokens": 1_000}


def test_price_list_is_up_to_date() -> None:
    """If it is not, run `python -m tests.client_sdk.price_list`."""
    listed = {(provider, name): rows for provider, names in PRICES.items() for name, rows in names.items()}
    assert listed == {(provider, name): rows for provider, name, rows in price_list.rows(NOW)}


@pytest.mark.parametrize("counts", [{**TOKENS, "input_tokens": 101_000}, TOKENS, {"output_tokens": 5}])
def test_prices_are_the_server_s(counts: dict[str, int]) -> None:
    wrong = {}
    for provider, names in PRICES.items():
        for name in names:
            model = name.removesuffix("*")
            mine = price_of({"model": model, "provider": provider, **counts})
            theirs = genai_prices.calc_price(
                genai_prices.Usage(**counts), model, provider_id=provider, genai_request_timestamp=NOW
            ).total_price
            if mine is not None and abs(mine - theirs) > Decimal("1e-9"):
                wrong[provider, model] = (mine, theirs)
    assert wrong == {}


@pytest.mark.parametrize(
    ("entry", "price"),
    [
        ({"model": "gpt-4o-mini", "provider": "openai", "input_tokens": 1_000_000}, Decimal("0.15")),
        ({"model": "GPT-4o-mini", "input_tokens": 1_000_000}, Decimal("0.15")),
        ({"model": "claude-haiku-4-5-20251001", "provider": "anthropic", "output_tokens": 1_000_000}, Decimal(5)),
        ({"model": "m", "cost_usd": 0.25, "input_tokens": 9}, Decimal("0.25")),
        ({"model": "m", "provider": "openai", "input_tokens": 9}, None),
        ({"model": "gpt-4o-mini", "provider": "groq", "input_tokens": 9}, None),
    ],
)
def test_price_of_one_call(entry: dict[str, Any], price: Decimal | None) -> None:
    assert price_of(entry) == price
