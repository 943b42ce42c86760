"""A project's custom prices, which override the price list. Pure: no Django, no clock.

Stored as `{"model": "llama-*", "input": 0.2, "output": 0.6}`: US dollars per million tokens, for every model whose name
matches the pattern (`*` and `?`, case-insensitive). `cache_read`, `cache_write` and `cache_write_1h` are for tokens
read from and written to a prompt cache, `input_audio` and `output_audio` for audio; without them these cost as much as
other tokens. `provider` and `tier` restrict it to one provider and service tier. The first match wins.

People write one per line, with the same words: `llama-* input 0.20 output 0.60`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from typing import Any, Final

MAX_OVERRIDES: Final = 100
MAX_PATTERN_LENGTH: Final = 200
# A higher price is a mistake: a million dollars per million tokens.
MAX_PRICE: Final = Decimal(1_000_000)
PRICES: Final = (
    *("input", "output", "cache_read", "cache_write", "cache_write_1h"),
    *("input_audio", "output_audio"),
)
NAMES: Final = ("provider", "tier")
EXAMPLE: Final = "llama-* input 0.20 output 0.60"
_KEYWORDS: Final = (*NAMES, *PRICES)


@dataclass(frozen=True, slots=True)
class Override:
    """One custom price. Amounts are US dollars per million tokens."""

    model: str
    provider: str
    input: Decimal
    output: Decimal
    cache_read: Decimal
    cache_write: Decimal
    cache_write_1h: Decimal
    input_audio: Decimal
    output_audio: Decimal
    tier: str

    def matches(self, model: str, provider: str | None, tier: str | None = None) -> bool:
        if self.provider and self.provider != (provider or "").lower():
            return False
        if self.tier and self.tier != (tier or "").lower():
            return False
        return fnmatchcase(model.lower(), self.model)


def overrides(stored: Iterable[Mapping[str, Any]]) -> tuple[Override, ...]:
    """A project's custom prices in order, from its validated settings."""
    return tuple(_override(entry) for entry in stored)


def _override(entry: Mapping[str, Any]) -> Override:
    price = {name: Decimal(str(entry[name])) for name in PRICES if name in entry}
    input_price, output_price = price["input"], price.get("output", Decimal(0))
    cache_write = price.get("cache_write", input_price)
    return Override(
        model=entry["model"].lower(),
        provider=(entry.get("provider") or "").lower(),
        input=input_price,
        output=output_price,
        cache_read=price.get("cache_read", input_price),
        cache_write=cache_write,
        cache_write_1h=price.get("cache_write_1h", cache_write),
        input_audio=price.get("input_audio", input_price),
        output_audio=price.get("output_audio", output_price),
        tier=(entry.get("tier") or "").lower(),
    )


def problem(entries: Any) -> str | None:
    """What is wrong with the entries, as a message for the user; None if they are valid."""
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        return 'Must be a list, e.g. [{"model": "llama-*", "input": 0.2, "output": 0.6}].'
    if len(entries) > MAX_OVERRIDES:
        return f"At most {MAX_OVERRIDES} prices."
    return next((f"{n}: {reason}" for n, entry in enumerate(entries, 1) if (reason := _entry_problem(entry))), None)


def _entry_problem(entry: Any) -> str | None:
    if not isinstance(entry, Mapping) or not {"model", "input", "output"} <= entry.keys():
        return '"model", "input" and "output" are required.'
    unknown = entry.keys() - {"model", *NAMES, *PRICES}
    if unknown:
        return f"unknown field “{min(unknown)}”."
    for name in ("model", *NAMES):
        text = entry.get(name, "*")
        if not isinstance(text, str) or not 1 <= len(text) <= MAX_PATTERN_LENGTH:
            return f"“{name}” must be text of 1 to {MAX_PATTERN_LENGTH} characters."
    invalid = [name for name in PRICES if name in entry and not _is_price(entry[name])]
    return f"“{invalid[0]}” must be USD per million tokens, from 0 to {MAX_PRICE:,}." if invalid else None


def _is_price(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return False
    try:
        return 0 <= Decimal(str(value)) <= MAX_PRICE
    except InvalidOperation:
        return False


def format_lines(stored: Iterable[Mapping[str, Any]]) -> str:
    """Valid custom prices as people write them, one per line."""
    return "\n".join(_format_line(entry) for entry in stored)


def _format_line(entry: Mapping[str, Any]) -> str:
    return " ".join([entry["model"], *(f"{word} {entry[word]}" for word in _KEYWORDS if word in entry)])


def parse(text: str) -> list[dict[str, Any]]:
    """Parse prices, one per line, into their stored form. Raises ValueError whose message names what to fix."""
    entries = [_parse_line(number, line.split()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    reason = problem(entries)
    if reason is not None:
        raise ValueError(reason if len(entries) > MAX_OVERRIDES else f"Price {reason}")
    return entries


def _parse_line(number: int, words: list[str]) -> dict[str, Any]:
    # A model name may contain spaces: it ends at the first keyword.
    model_end = next((at for at, word in enumerate(words) if at and word.lower() in _KEYWORDS), len(words))
    keywords, values = words[model_end::2], words[model_end + 1 :: 2]
    entry: dict[str, Any] = {"model": " ".join(words[:model_end])}
    for keyword, value in zip(keywords, values, strict=False):
        if keyword.lower() not in _KEYWORDS:
            raise ValueError(f"Line {number}: “{keyword}” is not one of {', '.join(_KEYWORDS)}. Example: “{EXAMPLE}”.")
        entry[keyword.lower()] = value if keyword.lower() == "provider" else _number(value)
    if len(keywords) != len(values) or not {"input", "output"} <= entry.keys():
        raise ValueError(f"Line {number}: model, input and output are required, as in “{EXAMPLE}”.")
    return entry


def _number(text: str) -> int | float | str:
    """The number in its stored form; anything else is returned as it is, for `problem` to report."""
    try:
        price = float(text.removeprefix("$"))
    except ValueError:
        return text
    return int(price) if price.is_integer() else price
