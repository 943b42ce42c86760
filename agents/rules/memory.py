"""Steady growth of memory: a leak, told before the host ends the process.

What is kept is the least memory of each ten minutes of the last twelve hours: garbage that is collected, and peaks, are
above it. It grows steadily where the least of each sixth of the last 12, 6 or 3 hours is above that of the sixth before
by at least 0.4 of the slope (Theil and Sen's, the median of all pairs'): jumps and stairs are flat in between, and what
warms up slows down. Coming back to what the process held before is no growth.

Without a limit it is told after the first day, when a process holds half more than ever before that, and 100 MB. With
`limit_mb` it is told, too, when that limit is less than twelve hours away and three quarters of it are held. On by
default: no finding in 2,000 simulated agent-days without a leak (`bench/memory.py`). Leaks of less than a twentieth
an hour are told by their limit only.

Memory: 700 bytes. Sizes are MB of 1,048,576 bytes, slopes MB a slot; times are slots since 1970.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import combinations, pairwise
from statistics import median
from typing import Any, Final

from agents.domain.durations import o_clock, spoken
from agents.domain.notes import STARTED
from agents.rules.evidence import DETAIL, EvidenceLabel, EvidenceLabels, Setting
from agents.rules.facts import WARNING, BeatSeen, Facts, Finding
from agents.rules.thresholds import Threshold, Thresholds

KIND = "memory"
LABEL = "Memory grows"
THRESHOLDS: Thresholds = (
    Threshold("limit_mb", float, None, "MB", 1, 1_000_000_000, "What host or container allows; unknown until set."),
)
EVIDENCE: EvidenceLabels = {
    "memory_mb": EvidenceLabel("Holds", DETAIL, "MB"),
    "mb_an_hour": EvidenceLabel("Grows an hour by", DETAIL, "MB"),
    "grows_since_at": EvidenceLabel("Has grown since"),
    "limit_mb": EvidenceLabel("Limit", DETAIL, "MB"),
    "limit_reached_at": EvidenceLabel("Reaches its limit"),
}
SLOT: Final = 600
HOUR: Final = 3_600 // SLOT
# In slots; the longest is what is kept, and the shortest tells too little without a limit.
WINDOWS: Final = (12 * HOUR, 6 * HOUR, 3 * HOUR)
# And the one that goes on.
KEPT: Final = WINDOWS[0] + 1
KNOWN_AFTER: Final = 24 * HOUR
PARTS: Final = 6
STEADY: Final = 0.4
HIGHER: Final = 1.5
MIN_GROWN: Final = 100.0
# What a limit makes worth telling: how near, how much of it, and how much more than it held before.
NEAR: Final = timedelta(hours=12)
NEAR_SHARE: Final = 0.75
NEAR_HIGHER: Final = 1.03


def read(memory: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Keep the least of each slot; a new process begins anew. When a slot ends, look at the slopes."""
    state = dict(memory)
    for beat in beats:
        if beat.note == STARTED:
            state = {}
        if beat.memory_mb is not None:
            _read(state, beat.memory_mb, int(beat.received_at.timestamp() // SLOT))
    return state


def allow(evidence: Mapping[str, Any]) -> Setting:
    """Growth like that."""
    if "limit_mb" in evidence:
        return Setting("If it may hold more, raise its limit.", "limit_mb")
    return Setting("If it grows like that when all is well, switch the rule off for it.")


def check(facts: Facts) -> Finding | None:
    """A warning while memory grows steadily: by half, or towards `limit_mb`."""
    growth, limit = facts.memory.get("growth"), facts.thresholds.get("limit_mb")
    full_at = _full_at(growth, limit) if growth and limit else None
    if not growth or not (growth["by_half"] or _is_near(facts, growth, limit, full_at)):
        return None
    began, held = _moment(growth["since"]), growth["now"]
    text = f"Memory has grown by {_size(growth['an_hour'])} an hour for {spoken((facts.now - began).total_seconds())}: "
    text += f"{_size(held)} now{_forecast(facts, limit, full_at)}"
    evidence = {"memory_mb": held, "mb_an_hour": growth["an_hour"], "grows_since_at": began.isoformat()}
    if full_at is not None:
        evidence |= {"limit_mb": limit, "limit_reached_at": full_at.isoformat()}
    return Finding(KIND, WARNING, text, began, evidence)


def _read(state: dict[str, Any], held: float, slot: int) -> None:
    low, last = state.get("low", []), state.get("slot", slot)
    if not low or slot <= last:
        state["low"], state["slot"] = [*low[:-1], round(min([held, *low[-1:]]), 1)], max(slot, last)
        return
    # Between two reports nothing else is known than the older one.
    low = [*low, *low[-1:] * min(slot - last - 1, KEPT), round(held, 1)]
    gone = low[:-KEPT]
    state["low"], state["slot"] = low[-KEPT:], slot
    state["age"] = state.get("age", 0) + slot - last
    state["peak"] = max([state.get("peak", 0.0), *gone])
    state["growth"] = _growth(state)


def _growth(state: Mapping[str, Any]) -> dict[str, Any] | None:
    """The longest of the windows that grows steadily, without the slot that goes on."""
    low = state["low"][:-1]
    for size in WINDOWS:
        window, before = low[-size:], max([state["peak"], *low[:-size]])
        slope = _steady_slope(window) if len(window) == size else None
        if slope is not None and window[-1] >= NEAR_HIGHER * before:
            known = state["age"] >= KNOWN_AFTER and size > WINDOWS[-1]
            higher = window[-1] >= max(HIGHER * max(before, window[0]), MIN_GROWN + before)
            found = {"now": window[-1], "an_hour": round(slope * HOUR, 1), "by_half": known and higher}
            return {**found, "since": state["slot"] - size, "until": state["slot"] - 1}
    return None


def _steady_slope(window: Sequence[float]) -> float | None:
    """MB a slot, if it grows from each part of the window to the next."""
    size = len(window) // PARTS
    parts = [min(window[start : start + size]) for start in range(0, PARTS * size, size)]
    slope = median((b - a) / (j - i) for (i, a), (j, b) in combinations(enumerate(parts), 2))
    steady = slope > 0 and all(b - a >= STEADY * slope for a, b in pairwise(parts))
    return slope / size if steady else None


def _is_near(facts: Facts, growth: Mapping[str, Any], limit: float | None, full_at: datetime | None) -> bool:
    if limit is None or full_at is None:
        return False
    return full_at - facts.now < NEAR and bool(growth["now"] >= NEAR_SHARE * limit)


def _full_at(growth: Mapping[str, Any], limit: float) -> datetime:
    """When it reaches the limit, as it grows; a year away at most."""
    hours = max(0.0, limit - growth["now"]) / max(growth["an_hour"], 0.1)
    return _moment(growth["until"]) + timedelta(hours=min(hours, 8_760))


def _moment(slot: int) -> datetime:
    return datetime.fromtimestamp(slot * SLOT, UTC)


def _forecast(facts: Facts, limit: float | None, full_at: datetime | None) -> str:
    if limit is None or full_at is None:
        return ""
    if full_at <= facts.now:
        return f", of {_size(limit)}"
    return f", {_size(limit)} at about {o_clock(full_at, facts.zone, facts.now)}"


def _size(mb: float) -> str:
    """`120 MB`, `1.9 GB`."""
    return f"{mb / 1_024:.1f} GB".replace(".0 ", " ") if mb >= 1_000 else f"{mb:.3g} MB"
