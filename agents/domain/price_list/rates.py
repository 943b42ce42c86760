"""The list price of one entry of usage: what its provider bills for these counts, tier and region. Pure.

Prices come from the `genai-prices` package, as of the time of the call. The package knows neither service tiers nor
regions; their factors are from the providers' own price pages, read in November 2026:

- batch is half of the list price at Anthropic, AWS, Azure, Google, Mistral and OpenAI; so is flex at OpenAI.
- `inference_geo: us` costs a tenth more at Anthropic.

What is billed in a way that no list has, such as priority processing, has no price: it is never guessed.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from genai_prices import Usage as Counts
from genai_prices.types import ModelPrice, TieredPrices

from agents.domain.heartbeat import Usage
from agents.domain.money import MICRO
from agents.domain.price_list import names
from teams.prices import Override

PER_REQUEST: Final = "requests_kcount"
# Names of the package for the counts of an entry that it prices on their own.
DETAILS: Final = {
    "cache_write_1h_tokens": "cache_write_1h_mtok",
    "input_audio_tokens": "input_audio_mtok",
    "output_audio_tokens": "output_audio_mtok",
    "cache_audio_read_tokens": "cache_audio_read_mtok",
    "input_image_tokens": "input_image_mtok",
    "output_image_tokens": "output_image_mtok",
    "web_searches": "web_searches_kcount",
    "audio_seconds": "",
}
# Without a price of their own these cost as much as text; the others cost something that is not known.
AS_TEXT: Final = {"input_image_tokens", "cache_audio_read_tokens"}
AUDIO_SECONDS: Final = {
    "audio_seconds": "audio_hours",
    "input_audio_seconds": "input_audio_hours",
    "output_audio_seconds": "output_audio_hours",
}
STANDARD: Final = {"", "auto", "default", "on_demand", "standard", "standard_only"}
FACTORS: Final = {
    **{
        (provider, "batch"): Decimal("0.5") for provider in ("anthropic", "aws", "azure", "google", "mistral", "openai")
    },
    ("openai", "flex"): Decimal("0.5"),
}
WORLDWIDE: Final = {"", "global", "not_available"}
REGIONS: Final = {("anthropic", "us"): Decimal("1.1")}


def list_price(use: Usage, at: datetime) -> Decimal | None:
    """Return the price in US dollars, or None if no list has one for all that the entry counts."""
    found = names.find(use.provider, use.model)
    if found is None:
        return Decimal(0) if use.model.endswith(names.FREE) else None
    factor = _factor(found.provider, use)
    price = found.model.get_prices(at)
    total = None if factor is None else _total(use, price)
    if total is None or factor is None:
        return None
    # Only models marked as free are: zero otherwise means priced per hour or per image, not per token.
    return total * factor if total or found.model.id.endswith(names.FREE) else None


def _factor(provider: str, use: Usage) -> Decimal | None:
    """How much of the list price is billed for this tier and region; None if that is not known."""
    tier, region = (use.service_tier or "").lower(), (use.region or "").lower()
    of_tier = Decimal(1) if tier in STANDARD else FACTORS.get((provider, tier))
    of_region = Decimal(1) if region in WORLDWIDE else REGIONS.get((provider, region))
    return None if of_tier is None or of_region is None else of_tier * of_region


def _total(use: Usage, price: ModelPrice) -> Decimal | None:
    details = {name: amount for name in DETAILS if (amount := getattr(use, name))}
    if any(not _is_listed(name, price) for name in details):
        return None
    rates = None if details else _rates(price)
    if rates is not None:
        return linear(use, rates)
    # Tiers depend on the size of one call.
    calls = max(1, use.calls)
    if unit := _audio_unit(price):
        details = {unit if name == "audio_seconds" else name: amount for name, amount in details.items()}
    return price.calc_price(_counts(use, details, calls))["total_price"] * calls


def _is_listed(name: str, price: ModelPrice) -> bool:
    if name == "audio_seconds":
        return _audio_unit(price) is not None
    return name in AS_TEXT or getattr(price, DETAILS[name]) is not None


def _audio_unit(price: ModelPrice) -> str | None:
    """Which seconds are billed: of what is heard, of what is spoken, or of both."""
    return next((unit for unit, per_hour in AUDIO_SECONDS.items() if getattr(price, per_hour) is not None), None)


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


def custom_price(use: Usage, custom: Override) -> Decimal:
    """Return the price in US dollars at a project's own rates."""
    kept = min(use.cache_write_1h_tokens, use.cache_write_tokens)
    extra = (
        kept * (custom.cache_write_1h - custom.cache_write)
        + min(use.input_audio_tokens, use.input_tokens) * (custom.input_audio - custom.input)
        + min(use.output_audio_tokens, use.output_tokens) * (custom.output_audio - custom.output)
    )
    rates = Rates(custom.input, custom.output, custom.cache_read, custom.cache_write)
    return linear(use, rates) + extra / MICRO


def _is_linear(price: ModelPrice) -> bool:
    parts = vars(price)
    return PER_REQUEST not in parts and not any(isinstance(part, TieredPrices) for part in parts.values())


def input_of(use: Usage) -> int:
    """All input tokens. They include cached ones by definition; if those are more, the client left them out."""
    cached = use.cache_read_tokens + use.cache_write_tokens
    return use.input_tokens if cached <= use.input_tokens else use.input_tokens + cached


def linear(use: Usage, rates: Rates) -> Decimal:
    """Return the price in US dollars where every token of a kind costs the same."""
    uncached = input_of(use) - use.cache_read_tokens - use.cache_write_tokens
    cached = use.cache_read_tokens * rates.cache_read + use.cache_write_tokens * rates.cache_write
    return (uncached * rates.input + cached + use.output_tokens * rates.output) / MICRO


def _counts(use: Usage, details: dict[str, int], calls: int) -> Counts:
    """The counts of one of an entry's calls."""
    total = {
        "input_tokens": input_of(use),
        "output_tokens": use.output_tokens,
        "cache_read_tokens": use.cache_read_tokens,
        "cache_write_tokens": use.cache_write_tokens,
        **details,
    }
    return Counts(**{name: Decimal(str(amount)) / calls for name, amount in total.items()})
