"""The same message repeats without other progress. Off by default: idle agents often repeat one status line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from agents.domain import signal_kinds
from agents.rules.evidence import NOWHERE, EvidenceLabel, EvidenceLabels, Setting
from agents.rules.facts import WARNING, BeatSeen, Facts, Finding
from agents.rules.thresholds import Threshold, Thresholds

KIND = "repeated_message"
LABEL = "Repeated message"
# The retired service's default. It compared nothing but the text, which 89 % of good runs with a fixed status line hit.
TIMES: Final = 5
MIN_TIMES: Final = 2
THRESHOLDS: Thresholds = (
    Threshold(
        name="times",
        kind=int,
        default=TIMES,
        unit="times",
        minimum=MIN_TIMES,
        maximum=10_000,
        why="The default of the original ClevAgent service.",
    ),
)

EVIDENCE: EvidenceLabels = {
    "pattern": EvidenceLabel("Pattern", NOWHERE),
    "message": EvidenceLabel("Message", NOWHERE),
    "count": EvidenceLabel("Times", NOWHERE),
    "first_at": EvidenceLabel("First time"),
    "last_at": EvidenceLabel("Last time"),
}


def allow(evidence: Mapping[str, Any]) -> Setting:
    """More repetitions."""
    return Setting("Expected? Allow more repetitions.", "times")


def read(state: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Count heartbeats with the same message; tokens, calls or another iteration in between reset the count."""
    updated = dict(state)
    for beat in beats:
        moved = beat.tokens or beat.cost or beat.calls or beat.counter
        if moved or (beat.iteration is not None and beat.iteration != updated.get("iteration", beat.iteration)):
            updated = {}
        if beat.iteration is not None:
            updated["iteration"] = beat.iteration
        if beat.message:
            updated = _count(updated, beat.message[:200], beat.received_at.isoformat())
    return updated


def _count(state: dict[str, Any], message: str, at: str) -> dict[str, Any]:
    if state.get("message") == message:
        return {**state, "count": state["count"] + 1, "last_at": at}
    return {**state, "message": message, "count": 1, "first_at": at, "last_at": at}


def check(facts: Facts) -> Finding | None:
    """A warning once the same message came `times` times without other progress (5)."""
    count = facts.state.get("count", 0)
    if count < max(MIN_TIMES, int(facts.thresholds.get("times", TIMES))):
        return None
    counted = {name: value for name, value in facts.state.items() if name != "iteration"}
    return Finding(
        kind=signal_kinds.LOOP,
        severity=WARNING,
        reason=f"Same message {count} times without other progress: “{facts.state['message']}”",
        started_at=datetime.fromisoformat(facts.state["first_at"]),
        evidence={"pattern": KIND, **counted},
    )
