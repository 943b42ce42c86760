"""What a heartbeat spent: what it claims, what the server prices, and what nobody knows the price of. Pure.

The prices are those of the package `genai-prices`, as they were at the time of the call: nothing is fetched. Each entry
of `usage` is worth, in this order: the project's own price for its model, the `cost_usd` that it claims, the list
price. Never two of them. A claim of 0 is none, for libraries say 0 of models that they do not know. What is left is
unpriced: its tokens are counted by model, and no money is guessed for them.

Money is whole micro-dollars, rounded half up once an entry, so that sums by heartbeat, day and agent agree exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import Final, NamedTuple

from genai_prices import Usage as Counts
from genai_prices import data_snapshot
from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices

from agents.domain.heartbeat import Beat, Usage
from teams.prices import Override

MICRO: Final = 1_000_000
# A clock that is further behind than the longest spool is wrong.
OLDEST: Final = timedelta(days=7)
UNNAMED: Final = "unnamed model"
OTHERS: Final = "other models"
# Names of unpriced models kept apart a day, and how long a name may be.
MAX_MODELS: Final = 8
MAX_MODEL_LENGTH: Final = 80
# Names that clients and conventions use and the price list does not know.
ALIASES: Final = {
    "azure.ai.inference": "azure",
    "gcp.gen_ai": "google",
    "google_genai": "google",
    "x_ai": "x-ai",
}
# OpenRouter's free models have no price because they have none, not because nobody knows it.
FREE: Final = ":free"
PER_REQUEST: Final = "requests_kcount"


@dataclass(frozen=True, slots=True)
class Spent:
    """One heartbeat's spend: when, and on which day of its project. `cost` is what counts, `priced` the part of it
    that the server priced; the rest was claimed. `prices` are micro-dollars, one an entry of `usage`, None where
    nobody knows."""

    at: datetime
    day: date
    tokens: int = 0
    cost: int = 0
    priced: int = 0
    unpriced: Mapping[str, int] = field(default_factory=dict)
    prices: Sequence[int | None] = ()

    @property
    def unpriced_tokens(self) -> int:
        return sum(self.unpriced.values())


@dataclass(frozen=True, slots=True)
class Stored:
    """What was kept of a heartbeat: its entries and their prices then, its money, its tokens without a price."""

    usage: Sequence[Usage]
    prices: Sequence[int | None]
    cost: int
    unpriced: int


class Worth(NamedTuple):
    """Of one entry: micro-dollars, and whether the server says so or the client."""

    micros: int
    by_server: bool


def ahead(beats: Iterable[Beat], received_at: datetime) -> timedelta:
    """How far the sender's clock is ahead of ours: its newest beat cannot have been sent after it came in."""
    sent = [beat.sent_at for beat in beats if beat.sent_at is not None and beat.sent_at.tzinfo is not None]
    return max([timedelta(0), *(at - received_at for at in sent)])


def spent_at(beat: Beat, received_at: datetime, ahead: timedelta = timedelta(0)) -> datetime:
    """When a beat's money was spent: when it was sent, by its own clock as far as that can be true."""
    if beat.sent_at is None or beat.sent_at.tzinfo is None:
        return received_at
    oldest = received_at - OLDEST
    # Compared before it is moved: year 1 cannot be.
    return oldest if beat.sent_at <= oldest else min(max(oldest, beat.sent_at - ahead), received_at)


def spent(beat: Beat, at: datetime, day: date, overrides: Sequence[Override] = ()) -> Spent:
    """What the beat spent at that time, on that day of its project."""
    claimed, loose = in_micros(beat.cost_usd), int(beat.tokens_used or 0)
    # Tokens of no entry are paid by the beat's own claim, if there is one.
    spent = _spent(beat.usage or (), at, day, overrides, claimed, 0 if claimed else loose)
    return replace(spent, tokens=beat.tokens)


def spent_again(stored: Stored, at: datetime, day: date, overrides: Sequence[Override] = ()) -> Spent:
    """The same of a stored beat by today's prices and overrides; what it claimed for itself stays as it was."""
    claimed = stored.cost - sum(price or 0 for price in stored.prices)
    loose = stored.unpriced - sum(unpriced_of(stored).values())
    return _spent(stored.usage, at, day, overrides, claimed, loose)


def unpriced_of(stored: Stored) -> dict[str, int]:
    """Tokens of entries without a price, by model, as it was stored."""
    return _without_price(stored.usage, stored.prices)


def _spent(
    uses: Sequence[Usage], at: datetime, day: date, overrides: Sequence[Override], claimed: int, loose: int
) -> Spent:
    """`claimed` money and `loose` tokens without a price are those of no entry."""
    worth = [_worth(use, at, overrides) for use in uses]
    prices = tuple(one.micros if one else None for one in worth)
    unpriced = _without_price(uses, prices)
    return Spent(
        at=at,
        day=day,
        tokens=sum(use.input_tokens + use.output_tokens for use in uses),
        cost=claimed + sum(price or 0 for price in prices),
        priced=sum(one.micros for one in worth if one and one.by_server),
        unpriced=merged(unpriced, {UNNAMED: loose}) if loose else unpriced,
        prices=prices,
    )


def in_micros(usd: float | None) -> int:
    """Dollars as they were written, in whole micro-dollars."""
    return _rounded(Decimal(str(usd))) if usd else 0


def merged(known: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    """Tokens by model, added; names beyond the first few share one entry."""
    total = dict(known)
    for name, tokens in more.items():
        key = name if name in total or len(total) < MAX_MODELS else OTHERS
        total[key] = total.get(key, 0) + tokens
    return total


def _without_price(uses: Sequence[Usage], prices: Sequence[int | None]) -> dict[str, int]:
    """Tokens that nobody has priced, by model."""
    found: dict[str, int] = {}
    for use, price in zip(uses, prices, strict=True):
        if price is None and (tokens := use.input_tokens + use.output_tokens):
            found = merged(found, {use.model[:MAX_MODEL_LENGTH] or UNNAMED: tokens})
    return found


def _worth(use: Usage, at: datetime, overrides: Sequence[Override]) -> Worth | None:
    own = next((one for one in overrides if one.matches(use.model, use.provider)), None)
    if own is not None:
        return Worth(_rounded(_linear(use, own.input, own.output, own.cache_read, own.cache_write)), by_server=True)
    if use.cost_usd:
        return Worth(in_micros(use.cost_usd), by_server=False)
    listed = _list_price(use, at)
    return None if listed is None else Worth(_rounded(listed), by_server=True)


def _list_price(use: Usage, at: datetime) -> Decimal | None:
    model = _model(use.provider, use.model)
    if model is None:
        return None
    price = model.get_prices(at)
    rates = _rates(price)
    total = _linear(use, *rates) if rates else price.calc_price(_counts(use))["total_price"]
    # Nothing is free but what says so: a price by the hour or by the picture is none for tokens.
    return total if total or model.id.endswith(FREE) else None


@lru_cache(maxsize=4096)
def _model(provider_id: str | None, name: str) -> ModelInfo | None:
    """The model that is meant. The package's own memory of misses grows without end, so it is not asked."""
    snapshot = data_snapshot.get_snapshot()
    provider = _provider(snapshot.providers, provider_id, name.lower())
    return provider.find_model(name, all_providers=snapshot.providers) if provider and name else None


def _provider(providers: list[Provider], provider_id: str | None, name: str) -> Provider | None:
    if provider_id:
        known = ALIASES.get(provider_id.lower(), provider_id)
        return data_snapshot.find_provider_by_id(providers, known)
    return next((one for one in providers if one.model_match and one.model_match.is_match(name)), None)


class Rates(NamedTuple):
    """Dollars a million tokens."""

    input: Decimal
    output: Decimal
    cache_read: Decimal
    cache_write: Decimal


# The package takes 75 µs a call and 1 µs is enough where no tier is involved. Its prices are never freed.
_known_rates: dict[int, Rates | None] = {}


def _rates(price: ModelPrice) -> Rates | None:
    """Its price by the token, from the package itself; None where the second token costs something else."""
    if id(price) not in _known_rates:
        _known_rates[id(price)] = _asked(price) if _is_linear(price) else None
    return _known_rates[id(price)]


def _asked(price: ModelPrice) -> Rates:
    def of(**counts: int) -> Decimal:
        return price.calc_price(Counts(**counts))["total_price"]

    million = MICRO
    return Rates(
        of(input_tokens=million),
        of(output_tokens=million),
        of(input_tokens=million, cache_read_tokens=million),
        of(input_tokens=million, cache_write_tokens=million),
    )


def _is_linear(price: ModelPrice) -> bool:
    parts = vars(price)
    return PER_REQUEST not in parts and not any(isinstance(part, TieredPrices) for part in parts.values())


def _input_of(use: Usage) -> int:
    """All input tokens. Cached ones are part of them by definition; where there are more, they were left out."""
    cached = use.cache_read_tokens + use.cache_write_tokens
    return use.input_tokens if cached <= use.input_tokens else use.input_tokens + cached


def _linear(use: Usage, plain: Decimal, output: Decimal, cache_read: Decimal, cache_write: Decimal) -> Decimal:
    uncached = _input_of(use) - use.cache_read_tokens - use.cache_write_tokens
    total = uncached * plain + use.cache_read_tokens * cache_read + use.cache_write_tokens * cache_write
    return (total + use.output_tokens * output) / MICRO


def _counts(use: Usage) -> Counts:
    return Counts(
        input_tokens=_input_of(use),
        output_tokens=use.output_tokens,
        cache_read_tokens=use.cache_read_tokens,
        cache_write_tokens=use.cache_write_tokens,
    )


def _rounded(usd: Decimal) -> int:
    return int((usd * MICRO).to_integral_value(ROUND_HALF_UP))
