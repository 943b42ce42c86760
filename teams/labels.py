"""Labels as people write them: `name=value`, one per line. Pure: no Django, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

MAX_LABELS: Final = 50
MAX_NAME_LENGTH: Final = 50
MAX_VALUE_LENGTH: Final = 200


def format_lines(labels: Mapping[str, str]) -> str:
    return "\n".join(f"{name}={value}" for name, value in labels.items())


def format_phrase(labels: Mapping[str, str]) -> str:
    """Labels within a sentence: `env=prod and team=search`."""
    return " and ".join(f"{name}={value}" for name, value in labels.items())


def parse(text: str) -> dict[str, str]:
    """Parse labels, one per line. Raises ValueError whose message names the line and how to fix it."""
    labels: dict[str, str] = {}
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    for number, line in lines:
        if line:
            name, value = _parse_line(number, line)
            if name in labels:
                raise ValueError(f"Line {number}: {name} already has a value. Use each name only once.")
            labels[name] = value
    if len(labels) > MAX_LABELS:
        raise ValueError(f"At most {MAX_LABELS} labels.")
    return labels


def _parse_line(number: int, line: str) -> tuple[str, str]:
    name, separator, value = (part.strip() for part in line.partition("="))
    if not separator or not name:
        raise ValueError(f"Line {number}: use name=value, e.g. env=production.")
    if len(name) > MAX_NAME_LENGTH or not name.isprintable():
        raise ValueError(f"Line {number}: a name must be 1 to {MAX_NAME_LENGTH} printable characters.")
    if len(value) > MAX_VALUE_LENGTH:
        raise ValueError(f"Line {number}: a value can be at most {MAX_VALUE_LENGTH} characters.")
    return name, value
