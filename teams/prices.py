"""What a project pays for a model where the price list is wrong or silent. Pure: no Django, no clock.

An override is written as `{"model": "llama-*", "input": 0.2, "output": 0.6}`: US dollars a million tokens, for every
model whose name matches the pattern (`*` and `?`, case does not matter). `cache_read` and `cache_write` are for tokens
read from and written to a prompt cache; where they are left out, those cost what other input does. `provider` narrows
it to one provider. The first one that matches counts.

People write one a line, in the same words: `llama-* input 0.20 output 0.60`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from typing import Any, Final

MAX_OVERRIDES: Final = 100
MAX_PATTERN_LENGTH: Final = 200
# Above this a price is a mistake: a million dollars for a million tokens.
MAX_PRICE: Final = Decimal(1_000_000)
PRICES: Final = ("input", "output", "cache_read", "cache_write")
EXAMPLE: Final = "llama-* input 0.20 output 0.60"
_WORDS: Final = ("provider", *PRICES)


@dataclass(frozen=True, slots=True)
class Override:
    """US dollars a million tokens."""

    model: str
    provider: str
    input: Decimal
    output: Decimal
    cache_read: Decimal
    cache_write: Decimal

    def matches(self, model: str, provider: str | None) -> bool:
        if self.provider and self.provider != (provider or "").lower():
            return False
        return fnmatchcase(model.lower(), self.model)


def overrides(written: Iterable[Mapping[str, Any]]) -> tuple[Override, ...]:
    """Those of a project, in their order, from its valid settings."""
    return tuple(_override(one) for one in written)


def _override(one: Mapping[str, Any]) -> Override:
    price = {name: Decimal(str(one[name])) for name in PRICES if name in one}
    plain = price["input"]
    return Override(
        model=one["model"].lower(),
        provider=(one.get("provider") or "").lower(),
        input=plain,
        output=price.get("output", Decimal(0)),
        cache_read=price.get("cache_read", plain),
        cache_write=price.get("cache_write", plain),
    )


def problem(written: Any) -> str | None:
    """What is wrong with overrides as a person wrote them, in words for that person; None when they are valid."""
    if not isinstance(written, Sequence) or isinstance(written, str):
        return 'A list is needed, e.g. [{"model": "llama-*", "input": 0.2, "output": 0.6}].'
    if len(written) > MAX_OVERRIDES:
        return f"At most {MAX_OVERRIDES} prices."
    return next((f"{number}: {why}" for number, one in enumerate(written, 1) if (why := _problem_of(one))), None)


def _problem_of(one: Any) -> str | None:
    if not isinstance(one, Mapping) or not {"model", "input", "output"} <= one.keys():
        return 'needs "model", "input" and "output".'
    unknown = one.keys() - {"model", "provider", *PRICES}
    if unknown:
        return f"does not know “{min(unknown)}”."
    for name in ("model", "provider"):
        text = one.get(name, "*")
        if not isinstance(text, str) or not 1 <= len(text) <= MAX_PATTERN_LENGTH:
            return f"“{name}” must be a text of 1 to {MAX_PATTERN_LENGTH} characters."
    wrong = [name for name in PRICES if name in one and not _is_price(one[name])]
    return f"“{wrong[0]}” must be dollars a million tokens, from 0 to {MAX_PRICE:,}." if wrong else None


def _is_price(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return False
    try:
        return 0 <= Decimal(str(value)) <= MAX_PRICE
    except InvalidOperation:
        return False


def lines(written: Iterable[Mapping[str, Any]]) -> str:
    """Valid overrides as people write them, one a line."""
    return "\n".join(_line(one) for one in written)


def _line(one: Mapping[str, Any]) -> str:
    return " ".join([one["model"], *(f"{word} {one[word]}" for word in _WORDS if word in one)])


def read(text: str) -> list[dict[str, Any]]:
    """The overrides in lines, as they are stored. Raises ValueError that says which line to mend, and how."""
    found = [_read_line(number, line.split()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    why = problem(found)
    if why is not None:
        raise ValueError(why if len(found) > MAX_OVERRIDES else f"Price {why}")
    return found


def _read_line(number: int, words: list[str]) -> dict[str, Any]:
    begins = next((at for at, word in enumerate(words) if at and word.lower() in _WORDS), len(words))
    named, rest = words[begins::2], words[begins + 1 :: 2]
    one: dict[str, Any] = {"model": " ".join(words[:begins])}
    for word, value in zip(named, rest, strict=False):
        if word.lower() not in _WORDS:
            raise ValueError(f"Line {number}: “{word}” is none of {', '.join(_WORDS)}. Write it as “{EXAMPLE}”.")
        one[word.lower()] = value if word.lower() == "provider" else _number(value)
    if len(named) != len(rest) or not {"input", "output"} <= one.keys():
        raise ValueError(f"Line {number}: give a model, input and output, as in “{EXAMPLE}”.")
    return one


def _number(text: str) -> int | float | str:
    """As it is stored; what is no number is left to `problem`."""
    try:
        price = float(text.removeprefix("$"))
    except ValueError:
        return text
    return int(price) if price.is_integer() else price
