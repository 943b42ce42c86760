"""A heartbeat with far more tokens than usual. Off unless switched on: real work comes in bursts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from agents.domain import signal_kinds
from agents.rules.evidence import DETAIL, NOWHERE, EvidenceLabel, EvidenceLabels, Setting
from agents.rules.facts import WARNING, BeatSeen, Facts, Finding
from agents.rules.thresholds import Threshold, Thresholds

KIND = "token_spike"
LABEL = "Token spike"
# The default of the retired service: so many times the moving average.
FACTOR = 3.0
# The average forgets half of what it knew after about 13 heartbeats; it is trusted from so many on.
WEIGHT = 0.05
KNOWN = 10
THRESHOLDS: Thresholds = (
    Threshold("factor", float, FACTOR, "times the average", 1, 1_000, "The retired service's default."),
)

EVIDENCE: EvidenceLabels = {
    "pattern": EvidenceLabel("Pattern", NOWHERE),
    "tokens": EvidenceLabel("Tokens", NOWHERE),
    "usual": EvidenceLabel("Usual", NOWHERE),
    "factor": EvidenceLabel("Told from", DETAIL, "times the average"),
}


def allow(evidence: Mapping[str, Any]) -> Setting:
    """Bursts like that."""
    return Setting("If such bursts are ordinary, say from how many times the average on they are told.", "factor")


def read(memory: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Keep the last heartbeat's tokens, and the average of those before it; heartbeats without any do not count."""
    state = dict(memory)
    for beat in beats:
        if beat.tokens:
            known, before = state.get("known", 0), state.get("average", 0.0)
            if known:
                before += (state["tokens"] - before) * max(WEIGHT, 1 / known)
            at = beat.received_at.isoformat()
            state = {"known": known + 1, "average": round(before, 3), "tokens": beat.tokens, "at": at}
    return state


def check(facts: Facts) -> Finding | None:
    """A warning while the last heartbeat with tokens had more than `factor` times the average before it (3)."""
    usual, tokens = facts.memory.get("average", 0.0), facts.memory.get("tokens", 0)
    factor = max(1.0, float(facts.thresholds.get("factor", FACTOR)))
    if facts.memory.get("known", 0) <= KNOWN or tokens <= factor * usual:
        return None
    reason = f"{tokens:,} tokens in one heartbeat; {usual:,.0f} are usual"
    evidence = {"pattern": KIND, "tokens": tokens, "usual": round(usual), "factor": factor}
    return Finding(signal_kinds.COST, WARNING, reason, datetime.fromisoformat(facts.memory["at"]), evidence)
