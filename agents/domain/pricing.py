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
from typing import Final, NamedTuple

import msgspec

from agents.domain.heartbeat import COUNTS, Beat, Usage
from agents.domain.money import MICRO
from agents.domain.price_list.rates import custom_price, list_price
from teams.prices import Override

UNNAMED: Final = "unnamed model"
OTHERS: Final = "other models"
# Unpriced models counted separately per day, and the longest model name.
MAX_MODELS: Final = 8
MAX_MODEL_LENGTH: Final = 80


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
    custom = next(
        (override for override in overrides if override.matches(use.model, use.provider, use.service_tier)), None
    )
    if custom is not None:
        return Worth(_rounded(custom_price(use, custom)), by_server=True)
    if use.cost_usd:
        return Worth(in_micros(use.cost_usd), by_server=False)
    listed = list_price(use, at)
    return None if listed is None else Worth(_rounded(listed), by_server=True)


def _negated(use: Usage) -> Usage:
    counts = {name: -getattr(use, name) for name in COUNTS}
    return msgspec.structs.replace(use, **counts, cost_usd=None if use.cost_usd is None else -use.cost_usd)


def _rounded(usd: Decimal) -> int:
    return int((usd * MICRO).to_integral_value(ROUND_HALF_UP))
