"""What a webhook told, in our own terms, and how to read its values. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from agents.domain.redaction import redacted

DEPLOY: Final = "deploy"
ALERT: Final = "alert"
# Names of the lanes' colours.
DEPLOYED: Final = "deploy"
CRITICAL, WARNING, CALM = "critical", "warning", "calm"
MAX_TEXT: Final = 300
MAX_URL: Final = 500
# A sender's clock may be ahead by this much.
MAX_AHEAD: Final = timedelta(minutes=5)
# No sender is older, and no row could hold it.
MIN_YEAR: Final = 1990
# Characters of 2026-11-30.
DAY: Final = 10


class Happening(NamedTuple):
    """A deploy or an alert. `key` is the sender's id of it, `version` grows with each change of it.

    `agents` are names that it may mean, best first. `ended` is None while it goes on.
    """

    key: str
    kind: str
    tone: str
    text: str
    version: int
    began: datetime
    ended: datetime | None
    agents: tuple[str, ...] = ()
    url: str = ""


def part(holder: Any, name: str) -> Mapping[str, Any]:
    """An object inside of another; empty if there is none."""
    value = holder.get(name) if isinstance(holder, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def words(holder: Mapping[str, Any], *names: str) -> str:
    """The first of these that is a text with something in it, on one line; numbers become text."""
    for name in names:
        value = holder.get(name)
        if isinstance(value, str) and value.strip():
            return " ".join(_storable(value[: 4 * MAX_TEXT]).split())
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
    return ""


def shown(text: str) -> str:
    """As people may see it: short and without secrets."""
    plain = redacted(text)
    return plain if len(plain) <= MAX_TEXT else f"{plain[: MAX_TEXT - 1]}…"


def link(holder: Mapping[str, Any], *names: str) -> str:
    """The first of these that is an address a browser may open."""
    found = (holder.get(name) for name in names)
    safe = (one for one in found if isinstance(one, str) and one.startswith(("https://", "http://")))
    return next((_storable(one) for one in safe if len(one) <= MAX_URL), "")


def _storable(text: str) -> str:
    """No text that the database refuses: U+0000, halves of characters."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def moment(value: Any, now: datetime) -> datetime | None:
    """A time: ISO 8601, as GitLab writes it (`2026-11-30 10:00:00 +0200`), or seconds since 1970. Never after `now`."""
    read = _of_number(value) if isinstance(value, int | float) and not isinstance(value, bool) else _of_text(value)
    if read is None or read.year < MIN_YEAR:
        return None
    return min(read, now) if read <= now + MAX_AHEAD else None


def _of_number(value: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(value, UTC) if math.isfinite(value) else None
    except (ValueError, OverflowError, OSError):
        return None


def _of_text(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    text = value.strip()
    day, rest = text[:DAY], text[DAY + 1 :]
    try:
        read = datetime.fromisoformat(f"{day} {rest.replace(' UTC', '+00:00').replace(' ', '')}".strip())
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def version_of(at: datetime, *, is_final: bool) -> int:
    """Of what has only times of whole seconds: its end comes after all else of the same second."""
    return int(at.timestamp()) * 2 + is_final
