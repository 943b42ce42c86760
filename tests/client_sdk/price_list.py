"""Writes the SDK's price list from genai-prices, which the server uses: `python -m tests.client_sdk.price_list`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from genai_prices import data_snapshot
from genai_prices.types import ClauseEquals, ClauseOr, ClauseStartsWith, TieredPrices

PATH = Path(__file__).resolve().parents[2] / "client_sdk" / "clevagent" / "price_list.py"
PROVIDERS = ("anthropic", "google", "openai")
FIELDS = ("input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok")
HEADER = '''"""US dollars per million tokens, written by `python -m tests.client_sdk.price_list` from genai-prices.

A name that ends with `*` is a beginning. Each row: from how many input tokens, input, output, read from a cache,
written to a cache; None where there is no such price.
"""

from __future__ import annotations

Row = tuple[int, float, float, "float | None", "float | None"]

'''


def rows(moment: datetime) -> Iterator[tuple[str, str, list[tuple[Any, ...]]]]:
    for provider in data_snapshot.get_snapshot().providers:
        if provider.id in PROVIDERS:
            for model in provider.models:
                prices = _rows(model.get_prices(moment))
                if prices:
                    yield from ((provider.id, name, prices) for name in _names(model.match))


def _names(clause: Any) -> Iterator[str]:
    """Models matched by a part of their name or by a pattern are left out: unknown is not guessed."""
    if isinstance(clause, ClauseOr):
        for each in clause.or_:
            yield from _names(each)
    elif isinstance(clause, ClauseEquals):
        yield clause.equals
    elif isinstance(clause, ClauseStartsWith):
        yield f"{clause.starts_with}*"


def _rows(price: Any) -> list[tuple[Any, ...]]:
    values = [getattr(price, name) for name in FIELDS]
    if values[0] is None or values[1] is None:
        return []
    starts = {0} | {tier.start for value in values if isinstance(value, TieredPrices) for tier in value.tiers}
    return [(start, *(_at(value, start) for value in values)) for start in sorted(starts)]


def _at(value: Any, start: int) -> float | None:
    if not isinstance(value, TieredPrices):
        return None if value is None else float(Decimal(value))
    reached = [tier.price for tier in value.tiers if tier.start <= start]
    return float(reached[-1] if reached else value.base)


def text(moment: datetime) -> str:
    lines = [HEADER, "PRICES: dict[str, dict[str, list[Row]]] = {\n"]
    known = list(rows(moment))
    for provider in PROVIDERS:
        lines.append(f'    "{provider}": {{\n')
        for name, prices in sorted({name: prices for owner, name, prices in known if owner == provider}.items()):
            lines.append(f'        "{name}": {prices!r},\n')
        lines.append("    },\n")
    return "".join([*lines, "}\n"])


if __name__ == "__main__":
    PATH.write_text(text(datetime.now(UTC)))
