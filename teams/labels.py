"""Labels as people write them: `name=value`, one a line. Pure: no Django, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

MOST: Final = 50
MAX_NAME_LENGTH: Final = 50
MAX_VALUE_LENGTH: Final = 200


def written(labels: Mapping[str, str]) -> str:
    """Labels as lines, in their order."""
    return "\n".join(f"{name}={value}" for name, value in labels.items())


def said(labels: Mapping[str, str]) -> str:
    """Labels within a sentence: `env=prod and team=search`."""
    return " and ".join(f"{name}={value}" for name, value in labels.items())


def read(text: str) -> dict[str, str]:
    """The labels in lines. Raises ValueError that says which line to mend, and how."""
    found: dict[str, str] = {}
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    for number, line in lines:
        if line:
            name, value = _label(number, line)
            if name in found:
                raise ValueError(f"Line {number}: {name} has a value already. An agent has one value of each name.")
            found[name] = value
    if len(found) > MOST:
        raise ValueError(f"At most {MOST} labels.")
    return found


def _label(number: int, line: str) -> tuple[str, str]:
    name, separator, value = (part.strip() for part in line.partition("="))
    if not separator or not name:
        raise ValueError(f"Line {number}: write it as name=value, e.g. env=production.")
    if len(name) > MAX_NAME_LENGTH or not name.isprintable():
        raise ValueError(f"Line {number}: a name has 1 to {MAX_NAME_LENGTH} printable characters.")
    if len(value) > MAX_VALUE_LENGTH:
        raise ValueError(f"Line {number}: a value has at most {MAX_VALUE_LENGTH} characters.")
    return name, value
