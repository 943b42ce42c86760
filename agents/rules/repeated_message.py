"""The same message again and again while nothing else moves. Off unless switched on: many agents idle in one word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from agents.domain import signal_kinds
from agents.rules.evidence import NOWHERE, EvidenceLabel, EvidenceLabels, Setting
from agents.rules.facts import WARNING, BeatSeen, Facts, Finding
from agents.rules.thresholds import Threshold, Thresholds

KIND = "repeated_message"
LABEL = "Repeated message"
# The default of the retired service, which looked at the text alone: 89 % of good runs with a constant status line.
TIMES = 5
LEAST = 2
THRESHOLDS: Thresholds = (Threshold("times", int, TIMES, "times", LEAST, 10_000, "The retired service's default."),)

EVIDENCE: EvidenceLabels = {
    "pattern": EvidenceLabel("Pattern", NOWHERE),
    "message": EvidenceLabel("Message", NOWHERE),
    "count": EvidenceLabel("Times", NOWHERE),
    "first_at": EvidenceLabel("First said"),
    "last_at": EvidenceLabel("Last said"),
}


def allow(evidence: Mapping[str, Any]) -> Setting:
    """So many times."""
    return Setting("If it may say so again and again, allow it more times.", "times")


def read(memory: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Count heartbeats with one message; tokens, calls or another iteration between them begin anew."""
    state = dict(memory)
    for beat in beats:
        moved = beat.tokens or beat.cost or beat.calls or beat.counter
        if moved or (beat.iteration is not None and beat.iteration != state.get("iteration", beat.iteration)):
            state = {}
        if beat.iteration is not None:
            state["iteration"] = beat.iteration
        if beat.message:
            state = _count(state, beat.message[:200], beat.received_at.isoformat())
    return state


def _count(state: dict[str, Any], message: str, at: str) -> dict[str, Any]:
    if state.get("message") == message:
        return {**state, "count": state["count"] + 1, "last_at": at}
    return {**state, "message": message, "count": 1, "first_at": at, "last_at": at}


def check(facts: Facts) -> Finding | None:
    """A warning from the same message `times` times without other progress on (5)."""
    count = facts.memory.get("count", 0)
    if count < max(LEAST, int(facts.thresholds.get("times", TIMES))):
        return None
    evidence = {"pattern": KIND, **{name: value for name, value in facts.memory.items() if name != "iteration"}}
    reason = f"Said {count} times without other progress: “{facts.memory['message']}”"
    return Finding(signal_kinds.LOOP, WARNING, reason, datetime.fromisoformat(facts.memory["first_at"]), evidence)
