"""Makes a tool's answer fit: what is longest is cut, and it stays JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

# Bytes of the whole answer to a call, which models pay for.
MAX_ANSWER: Final = 4_096
# For what stands around a tool's text: the ID of the request, the keys of the protocol.
FRAME: Final = 256
# Characters of a text and rows of a list that are kept, one after the other until it fits.
STEPS: Final = ((500, 10), (300, 10), (200, 8), (120, 6), (80, 4), (50, 2), (25, 1))
# An object has more keys than a list should have rows.
KEYS_PER_ROW, MIN_KEYS = 3, 8
TOO_LARGE: Final = '{"error": "The answer is too large. Ask over the API."}'


def fitted(answer: Any) -> str:
    """The answer as JSON, cut so that it fits into `MAX_ANSWER`."""
    for longest, rows in STEPS:
        text = json.dumps(_cut(answer, longest, rows), ensure_ascii=False)
        if _fits(text):
            return text
    return TOO_LARGE


def fitted_text(text: str) -> str:
    """A sentence, cut in the same way."""
    return next((short for longest, _ in STEPS if _fits(short := _shortened(text, longest))), "")


def _fits(text: str) -> bool:
    # It is sent as a string within JSON: each quote takes two bytes.
    return len(encoded(text)) <= MAX_ANSWER - FRAME


def encoded(value: Any) -> bytes:
    """JSON in UTF-8; halves of characters become question marks."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")


def _cut(value: Any, longest: int, rows: int, *, is_top: bool = True) -> Any:
    if isinstance(value, str):
        return _shortened(value, longest)
    if isinstance(value, Mapping):
        kept = list(value.items())[: None if is_top else max(MIN_KEYS, KEYS_PER_ROW * rows)]
        return {_shortened(str(name), longest): _cut(each, longest, rows, is_top=False) for name, each in kept}
    if isinstance(value, list | tuple):
        return [_cut(each, longest, rows, is_top=False) for each in value[:rows]]
    return value


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
