"""A heartbeat's spend: reported by the client, priced by the server, or unpriced. Pure.

Prices come from the `genai-prices` package, as of the time of the call; nothing is fetched. Each `usage` entry uses
the first of: the project's custom price for its model, the `cost_usd` it reports, the list price. A reported 0 is
ignored, because libraries report 0 for models they do not know. Everything else is unpriced: its tokens are counted by
model and no cost is guessed.

Money is whole micro-dollars, rounded half up once per entry, so sums by heartbeat, day and agent agree exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec
from genai_prices import Usage as Counts
from genai_prices import data_snapshot
from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices

from agents.domain.heartbeat import COUNTS, Beat, Usage
from agents.domain.money import MICRO
from teams.prices import Override

UNNAMED: Final = "unnamed model"
OTHERS: Final = "other models"
# Unpriced models counted separately per day, and the longest model name.
MAX_MODELS: Final = 8
MAX_MODEL_LENGTH: Final = 80
# Provider names that clients and conventions use but the price list does not know.
ALIASES: Final = {
    "azure.ai.inference": "azure",
    "gcp.gen_ai": "google",
    "google_genai": "google",
    "x_ai": "x-ai",
}
# OpenRouter's free models have a price of zero, not an unknown one.
FREE: Final = ":free"
PER_REQUEST: Final = "requests_kcount"


@dataclass(frozen=True, slots=True)
class Spent:
    """One heartbeat's spend, and on which day of its project.

    `cost` counts against budgets; `priced` is the part the server priced, the rest was reported. `prices` has
    micro-dollars for each `usage` entry, None where no price is known.
    """

    at: datetime
    day: date
    _: KW_ONLY
    tokens: int = 0
    cost: int = 0
    priced: int = 0
    unpriced: Mapping[str, int] = field(default_factory=dict)
    prices: Sequence[int | None] = ()

    @property
    def unpriced_tokens(self) -> int:
        return sum(self.unpriced.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What was stored of a heartbeat: its usage entries and their prices then, its cost, its unpriced tokens."""

    usage: Sequence[Usage]
    prices: Sequence[int | None]
    cost: int
    unpriced: int


class Worth(NamedTuple):
    """An entry's price in micro-dollars, and whether the server or the client set it."""

    micros: int
    by_server: bool


def spent(beat: Beat, at: datetime, day: date, overrides: Sequence[Override] = ()) -> Spent:
    """The heartbeat's spend at that time, on that day of its project."""
    reported, tokens = in_micros(beat.cost_usd), int(beat.tokens_used or 0)
    # The heartbeat's own cost, if any, covers the tokens outside its usage entries.
    spent = _priced(beat.usage or (), at, day, overrides, reported=reported, unpriced=0 if reported else tokens)
    return replace(spent, tokens=beat.tokens)


def spent_again(stored: Stored, at: datetime, day: date, overrides: Sequence[Override] = ()) -> Spent:
    """A stored heartbeat's spend by today's prices and overrides; the cost it reported for itself does not change."""
    reported = stored.cost - sum(price or 0 for price in stored.prices)
    unpriced = stored.unpriced - sum(unpriced_of(stored).values())
    return _priced(stored.usage, at, day, overrides, reported=reported, unpriced=unpriced)


def unpriced_of(stored: Stored) -> dict[str, int]:
    """Tokens of entries that were stored without a price, by model."""
    return _without_price(stored.usage, stored.prices)


def _priced(
    uses: Sequence[Usage],
    at: datetime,
    day: date,
    overrides: Sequence[Override],
    *,
    reported: int,
    unpriced: int,
) -> Spent:
    """`reported` money and `unpriced` tokens are those outside the usage entries."""
    worths = [_worth(use, at, overrides) for use in uses]
    prices = tuple(worth.micros if worth else None for worth in worths)
    by_model = _without_price(uses, prices)
    return Spent(
        at=at,
        day=day,
        tokens=sum(use.input_tokens + use.output_tokens for use in uses),
        cost=reported + sum(price or 0 for price in prices),
        priced=sum(worth.micros for worth in worths if worth and worth.by_server),
        unpriced=merged(by_model, {UNNAMED: unpriced}) if unpriced else by_model,
        prices=prices,
    )


def in_micros(usd: float | None) -> int:
    """Dollars as the client wrote them, in whole micro-dollars."""
    return _rounded(Decimal(str(usd))) if usd else 0


def merged(known: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    """Add two token counts by model; names beyond the first few share one entry."""
    total = dict(known)
    for name, tokens in more.items():
        key = name if name in total or len(total) < MAX_MODELS else OTHERS
        total[key] = total.get(key, 0) + tokens
    return total


def _without_price(uses: Sequence[Usage], prices: Sequence[int | None]) -> dict[str, int]:
    """Tokens without a price, by model."""
    by_model: dict[str, int] = {}
    for use, price in zip(uses, prices, strict=True):
        if price is None and (tokens := use.input_tokens + use.output_tokens):
            by_model = merged(by_model, {use.model[:MAX_MODEL_LENGTH] or UNNAMED: tokens})
    return by_model


def _worth(use: Usage, at: datetime, overrides: Sequence[Override]) -> Worth | None:
    if use.input_tokens < 0 or use.output_tokens < 0:
        # A correction takes back what a too high report was worth.
        taken_back = _worth(_negated(use), at, overrides)
        return taken_back and Worth(-taken_back.micros, taken_back.by_server)
    custom = next((override for override in overrides if override.matches(use.model, use.provider)), None)
    if custom is not None:
        rates = Rates(
            input=custom.input, output=custom.output, cache_read=custom.cache_read, cache_write=custom.cache_write
        )
        return Worth(_rounded(_linear(use, rates)), by_server=True)
    if use.cost_usd:
        return Worth(in_micros(use.cost_usd), by_server=False)
    listed = _list_price(use, at)
    return None if listed is None else Worth(_rounded(listed), by_server=True)


def _negated(use: Usage) -> Usage:
    counts = {name: -getattr(use, name) for name in COUNTS}
    return msgspec.structs.replace(use, **counts, cost_usd=None if use.cost_usd is None else -use.cost_usd)


def _list_price(use: Usage, at: datetime) -> Decimal | None:
    model = _model(use.provider, use.model)
    if model is None:
        return None
    price = model.get_prices(at)
    rates = _rates(price)
    total = _linear(use, rates) if rates else price.calc_price(_counts(use))["total_price"]
    # Only models marked as free are: zero otherwise means priced per hour or per image, not per token.
    return total if total or model.id.endswith(FREE) else None


@lru_cache(maxsize=4096)
def _model(provider_id: str | None, name: str) -> ModelInfo | None:
    """The model in the price list. Looked up here because the package caches misses without a bound."""
    snapshot = data_snapshot.get_snapshot()
    provider = _provider(snapshot.providers, provider_id, name.lower())
    return provider.find_model(name, all_providers=snapshot.providers) if provider and name else None


def _provider(providers: list[Provider], provider_id: str | None, name: str) -> Provider | None:
    if provider_id:
        known = ALIASES.get(provider_id.lower(), provider_id)
        return data_snapshot.find_provider_by_id(providers, known)
    return next((each for each in providers if each.model_match and each.model_match.is_match(name)), None)


class Rates(NamedTuple):
    """USD per million tokens."""

    input: Decimal
    output: Decimal
    cache_read: Decimal
    cache_write: Decimal


# A calculation takes the package 75 µs; without tiers, 1 µs is enough. Keyed by id: its prices are never freed.
_known_rates: dict[int, Rates | None] = {}


def _rates(price: ModelPrice) -> Rates | None:
    """A model's price per token, as the package calculates it; None where the price depends on the amount."""
    if id(price) not in _known_rates:
        _known_rates[id(price)] = _measured(price) if _is_linear(price) else None
    return _known_rates[id(price)]


def _measured(price: ModelPrice) -> Rates:
    def total(**counts: int) -> Decimal:
        return price.calc_price(Counts(**counts))["total_price"]

    million = MICRO
    return Rates(
        input=total(input_tokens=million),
        output=total(output_tokens=million),
        cache_read=total(input_tokens=million, cache_read_tokens=million),
        cache_write=total(input_tokens=million, cache_write_tokens=million),
    )


def _is_linear(price: ModelPrice) -> bool:
    parts = vars(price)
    return PER_REQUEST not in parts and not any(isinstance(part, TieredPrices) for part in parts.values())


def _input_of(use: Usage) -> int:
    """All input tokens. They include cached ones by definition; if those are more, the client left them out."""
    cached = use.cache_read_tokens + use.cache_write_tokens
    return use.input_tokens if cached <= use.input_tokens else use.input_tokens + cached


def _linear(use: Usage, rates: Rates) -> Decimal:
    uncached = _input_of(use) - use.cache_read_tokens - use.cache_write_tokens
    cached = use.cache_read_tokens * rates.cache_read + use.cache_write_tokens * rates.cache_write
    return (uncached * rates.input + cached + use.output_tokens * rates.output) / MICRO


def _counts(use: Usage) -> Counts:
    return Counts(
        input_tokens=_input_of(use),
        output_tokens=use.output_tokens,
        cache_read_tokens=use.cache_read_tokens,
        cache_write_tokens=use.cache_write_tokens,
    )


def _rounded(usd: Decimal) -> int:
    return int((usd * MICRO).to_integral_value(ROUND_HALF_UP))
