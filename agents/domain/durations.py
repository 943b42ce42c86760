"""Durations and times of day as text. Pure."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Final

_UNITS: Final = ((86_400, "day"), (3_600, "hour"), (60, "minute"))


def unit(seconds: float) -> int:
    """The seconds in the unit in which `spoken` gives a duration: for so long it says the same."""
    return next((size for size, _ in _UNITS if seconds >= 2 * size), 1)


def spoken(seconds: float) -> str:
    """A duration in words: `40 seconds`, `47 minutes`, `3 hours`."""
    for size, name in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}s"
    whole = round(seconds)
    return f"{whole} second{'' if whole == 1 else 's'}"


def time_of_day(at: datetime, zone: tzinfo, now: datetime) -> str:
    """`02:13`, with the date unless it is today."""
    local = at.astimezone(zone)
    same_day = local.date() == now.astimezone(zone).date()
    return f"{local:%H:%M}" if same_day else f"{local.day} {local:%b %H:%M}"
