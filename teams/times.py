"""How pages say durations and times. Pure: no Django, no clock. Durations are seconds, times are aware."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Final

_UNITS: Final = ((86_400, "day"), (3_600, "h"), (60, "min"))
# From how many of a unit on the next smaller one is left out: 2 h 5 min, but 12 h.
_COARSE: Final = 10


def duration(seconds: float) -> str:
    """`34 s`, `12 min`, `2 h 5 min`, `3 days`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    size, unit = next(pair for pair in _UNITS if whole >= pair[0])
    count = whole // size
    text = f"{count} {unit}{'s' if unit == 'day' and count > 1 else ''}"
    return text if count >= _COARSE or unit == "min" else text + _rest(whole % size, unit)


def _rest(seconds: int, after: str) -> str:
    smaller = seconds // 3_600 if after == "day" else seconds // 60
    return f" {smaller} {'h' if after == 'day' else 'min'}" if smaller else ""


def ago(then: datetime, now: datetime) -> str:
    """`34 s ago`; `just now` within a second, or when the two clocks disagree."""
    seconds = (now - then).total_seconds()
    return f"{duration(seconds)} ago" if seconds >= 1 else "just now"


def away(at: datetime, now: datetime) -> str:
    """`in 3 days` before a moment, `12 min ago` after it."""
    left = (at - now).total_seconds()
    return f"in {duration(left)}" if left > 0 else ago(at, now)


def exact(at: datetime, zone: tzinfo) -> str:
    """`23 Nov 2026, 20:25:57 CET`."""
    local = at.astimezone(zone)
    return f"{local.day} {local:%b %Y, %H:%M:%S %Z}"
