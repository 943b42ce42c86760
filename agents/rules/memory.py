"""Steady memory growth: a leak, reported before the operating system kills the process.

Kept is the lowest memory of each ten minutes over the last twelve hours: peaks, and garbage that gets collected, are
above it. Growth is steady if the lowest of each sixth of the last 12, 6 or 3 hours exceeds the previous sixth's by at
least 0.4 of the slope (Theil-Sen: the median of all pairs). Jumps and stairs are flat in between, warm-up slows down,
and returning to what the process held before is no growth.

Without a limit the finding comes after the first day, when the process holds 50 % and 100 MB more than ever before.
With `limit_mb` also when the limit is less than twelve hours away and three quarters of it are in use. On by default:
no finding in 2,000 simulated agent-days without a leak (`bench/memory.py`). Leaks slower than 5 % per hour are found by
their limit only.

State: 700 bytes. Sizes are MB of 1,048,576 bytes, slopes MB per slot; times are ten-minute slots since 1970.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import combinations, pairwise
from statistics import median
from typing import Any, Final

from agents.domain.durations import spoken, time_of_day
from agents.domain.notes import STARTED
from agents.rules.evidence import DETAIL, EvidenceLabel, EvidenceLabels, Setting
from agents.rules.facts import WARNING, BeatSeen, Facts, Finding
from agents.rules.thresholds import Threshold, Thresholds

KIND = "memory"
LABEL = "Memory growth"
THRESHOLDS: Thresholds = (
    Threshold(
        name="limit_mb",
        kind=float,
        unit="MB",
        minimum=1,
        maximum=1_000_000_000,
        why="The limit of the host or container; unknown unless set.",
    ),
)
EVIDENCE: EvidenceLabels = {
    "memory_mb": EvidenceLabel("Memory used", DETAIL, "MB"),
    "mb_an_hour": EvidenceLabel("Growth per hour", DETAIL, "MB"),
    "grows_since_at": EvidenceLabel("Growing since"),
    "limit_mb": EvidenceLabel("Limit", DETAIL, "MB"),
    "limit_reached_at": EvidenceLabel("Reaches the limit"),
}
SLOT: Final = 600
HOUR: Final = 3_600 // SLOT
# In slots. The longest is as much as is kept; the shortest proves too little without a limit.
WINDOWS: Final = (12 * HOUR, 6 * HOUR, 3 * HOUR)
# Plus the slot in progress.
KEPT: Final = WINDOWS[0] + 1
KNOWN_AFTER: Final = 24 * HOUR
PARTS: Final = 6
STEADY: Final = 0.4
HIGHER: Final = 1.5
MIN_GROWN: Final = 100.0
# With a limit: how near it is, which share of it is used, and how much more than ever before.
NEAR: Final = timedelta(hours=12)
NEAR_SHARE: Final = 0.75
NEAR_HIGHER: Final = 1.03
MAX_FORECAST_HOURS: Final = 8_760


def read(state: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Keep the lowest memory per slot and, when a slot ends, look at the slopes. A new process starts over."""
    updated = dict(state)
    for beat in beats:
        if beat.note == STARTED:
            updated = {}
        if beat.memory_mb is not None:
            _read(updated, beat.memory_mb, int(beat.received_at.timestamp() // SLOT))
    return updated


def allow(evidence: Mapping[str, Any]) -> Setting:
    """More growth."""
    if "limit_mb" in evidence:
        return Setting("Expected? Raise the memory limit.", "limit_mb")
    return Setting("Expected? Switch this rule off for the agent.")


def check(facts: Facts) -> Finding | None:
    """A warning while memory grows steadily: by half, or towards `limit_mb`."""
    growth, limit = facts.state.get("growth"), facts.thresholds.get("limit_mb")
    full_at = _full_at(growth, limit) if growth and limit else None
    if not growth or not (growth["by_half"] or _is_near(facts, growth, limit, full_at)):
        return None
    began = _begin_of(growth["since"])
    evidence = {"memory_mb": growth["now"], "mb_an_hour": growth["an_hour"], "grows_since_at": began.isoformat()}
    if full_at is not None:
        evidence |= {"limit_mb": limit, "limit_reached_at": full_at.isoformat()}
    return Finding(
        kind=KIND,
        severity=WARNING,
        reason=(
            f"Memory has grown by {_size(growth['an_hour'])} per hour for {spoken((facts.now - began).total_seconds())}"
            f": {_size(growth['now'])} now{_forecast(facts, limit, full_at)}"
        ),
        started_at=began,
        evidence=evidence,
    )


def _read(state: dict[str, Any], held: float, slot: int) -> None:
    low, last = state.get("low", []), state.get("slot", slot)
    if not low or slot <= last:
        state["low"], state["slot"] = [*low[:-1], round(min([held, *low[-1:]]), 1)], max(slot, last)
        return
    # Slots without a report repeat the last known value.
    low = [*low, *low[-1:] * min(slot - last - 1, KEPT), round(held, 1)]
    dropped = low[:-KEPT]
    state["low"], state["slot"] = low[-KEPT:], slot
    state["age"] = state.get("age", 0) + slot - last
    state["peak"] = max([state.get("peak", 0.0), *dropped])
    state["growth"] = _growth(state)


def _growth(state: Mapping[str, Any]) -> dict[str, Any] | None:
    """The longest window with steady growth, without the slot in progress."""
    low = state["low"][:-1]
    for size in WINDOWS:
        window, before = low[-size:], max([state["peak"], *low[:-size]])
        slope = _steady_slope(window) if len(window) == size else None
        if slope is not None and window[-1] >= NEAR_HIGHER * before:
            is_known = state["age"] >= KNOWN_AFTER and size > WINDOWS[-1]
            is_higher = window[-1] >= max(HIGHER * max(before, window[0]), MIN_GROWN + before)
            return {
                "now": window[-1],
                "an_hour": round(slope * HOUR, 1),
                "by_half": is_known and is_higher,
                "since": state["slot"] - size,
                "until": state["slot"] - 1,
            }
    return None


def _steady_slope(window: Sequence[float]) -> float | None:
    """MB per slot, if each part of the window is higher than the one before."""
    size = len(window) // PARTS
    parts = [min(window[start : start + size]) for start in range(0, PARTS * size, size)]
    slope = median((b - a) / (j - i) for (i, a), (j, b) in combinations(enumerate(parts), 2))
    is_steady = slope > 0 and all(b - a >= STEADY * slope for a, b in pairwise(parts))
    return slope / size if is_steady else None


def _is_near(facts: Facts, growth: Mapping[str, Any], limit: float | None, full_at: datetime | None) -> bool:
    if limit is None or full_at is None:
        return False
    return full_at - facts.now < NEAR and bool(growth["now"] >= NEAR_SHARE * limit)


def _full_at(growth: Mapping[str, Any], limit: float) -> datetime:
    """When it reaches the limit at this rate; at most a year from now."""
    hours = max(0.0, limit - growth["now"]) / max(growth["an_hour"], 0.1)
    return _begin_of(growth["until"]) + timedelta(hours=min(hours, MAX_FORECAST_HOURS))


def _begin_of(slot: int) -> datetime:
    return datetime.fromtimestamp(slot * SLOT, UTC)


def _forecast(facts: Facts, limit: float | None, full_at: datetime | None) -> str:
    if limit is None or full_at is None:
        return ""
    if full_at <= facts.now:
        return f", of {_size(limit)}"
    return f", {_size(limit)} at about {time_of_day(full_at, facts.zone, facts.now)}"


def _size(mb: float) -> str:
    """`120 MB`, `1.9 GB`."""
    return f"{mb / 1_024:.1f} GB".replace(".0 ", " ") if mb >= 1_000 else f"{mb:.3g} MB"
