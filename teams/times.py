"""Durations and times as pages show them. Pure: no Django, no clock. Durations are seconds, times are aware."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Final

_UNITS: Final = ((86_400, "day"), (3_600, "h"), (60, "min"))
# From this count on, the next smaller unit is left out: 2 h 5 min, but 12 h.
_SINGLE_UNIT_FROM: Final = 10


def duration(seconds: float) -> str:
    """`34 s`, `12 min`, `2 h 5 min`, `3 days`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    size, unit = next(pair for pair in _UNITS if whole >= pair[0])
    count = whole // size
    text = f"{count} {unit}{'s' if unit == 'day' and count > 1 else ''}"
    return text if count >= _SINGLE_UNIT_FROM or unit == "min" else text + _remainder(whole % size, unit)


def _remainder(seconds: int, after: str) -> str:
    count = seconds // 3_600 if after == "day" else seconds // 60
    return f" {count} {'h' if after == 'day' else 'min'}" if count else ""


def ago(then: datetime, now: datetime) -> str:
    """`34 s ago`; `just now` within a second, or when clock skew puts `then` in the future."""
    seconds = (now - then).total_seconds()
    return f"{duration(seconds)} ago" if seconds >= 1 else "just now"


def relative(at: datetime, now: datetime) -> str:
    """`in 3 days` for a future time, `12 min ago` for a past one; `just now` within a second."""
    seconds_left = (at - now).total_seconds()
    return f"in {duration(seconds_left)}" if seconds_left >= 1 else ago(at, now)


def exact(at: datetime, zone: tzinfo) -> str:
    """`23 Nov 2026, 20:25:57 CET`."""
    local = at.astimezone(zone)
    return f"{local.day} {local:%b %Y, %H:%M:%S %Z}"
