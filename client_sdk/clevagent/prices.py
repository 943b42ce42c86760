"""Prices model calls locally, for budgets that work without a server. Pure; the server's own prices decide there."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

MILLION = Decimal(1_000_000)
COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")


def price_of(entry: Mapping[str, Any]) -> Decimal | None:
    """US dollars of one `usage` entry: as reported, else by the price list; None if its price is unknown."""
    if entry.get("cost_usd") is not None:
        return Decimal(str(entry["cost_usd"]))
    rows = _rows_of(str(entry.get("model")), str(entry.get("provider") or ""))
    tokens = [entry.get(name, 0) for name in COUNTS]
    if rows is None:
        return None
    reached = [row for row in rows if row[0] <= tokens[0]]
    _, into, out, read, write = reached[-1]
    plain = max(0, tokens[0] - tokens[2] - tokens[3])
    parts = zip((plain, *tokens[1:]), (into, out, into if read is None else read, into if write is None else write))
    return sum((Decimal(number) * Decimal(str(price)) for number, price in parts), Decimal(0)) / MILLION


@functools.lru_cache(maxsize=200)
def _rows_of(model: str, provider: str) -> Any:
    """The exact name, else the longest beginning. Without a provider, the model must have one price everywhere."""
    from clevagent.price_list import PRICES  # only for programs with a budget

    lists = [PRICES[provider]] if provider in PRICES else [] if provider else list(PRICES.values())
    found = [rows for rows in (_find(prices, model.lower()) for prices in lists) if rows]
    return found[0] if found and all(rows == found[0] for rows in found) else None


def _find(prices: Mapping[str, Any], model: str) -> Any:
    if model in prices:
        return prices[model]
    beginnings = [name for name in prices if name.endswith("*") and model.startswith(name[:-1])]
    return prices[max(beginnings, key=len)] if beginnings else None
