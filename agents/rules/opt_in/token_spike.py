"""One heartbeat used far more tokens than usual. Off by default: often wrong, because real work comes in bursts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from agents.domain import signal_kinds
from agents.rules.evidence import DETAIL, NOWHERE, EvidenceLabel, EvidenceLabels, Setting
from agents.rules.facts import WARNING, BeatSeen, Facts, Finding
from agents.rules.thresholds import Threshold, Thresholds

KIND = "token_spike"
LABEL = "Token spike"
# The retired service's default: times the moving average.
FACTOR: Final = 3.0
# The average forgets half of what it knew after about 13 heartbeats; it is trusted after this many.
WEIGHT: Final = 0.05
KNOWN: Final = 10
THRESHOLDS: Thresholds = (
    Threshold(
        name="factor",
        kind=float,
        default=FACTOR,
        unit="times the average",
        minimum=1,
        maximum=1_000,
        why="The default of the original ClevAgent service.",
    ),
)

EVIDENCE: EvidenceLabels = {
    "pattern": EvidenceLabel("Pattern", NOWHERE),
    "tokens": EvidenceLabel("Tokens", NOWHERE),
    "usual": EvidenceLabel("Usual", NOWHERE),
    "factor": EvidenceLabel("Alert threshold", DETAIL, "times the average"),
}


def allow(evidence: Mapping[str, Any]) -> Setting:
    """Larger bursts."""
    return Setting("Expected? Alert only from a higher multiple of the average.", "factor")


def read(state: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Keep the last heartbeat's tokens and the average of those before; heartbeats without tokens do not count."""
    updated = dict(state)
    for beat in beats:
        if beat.tokens:
            known, average = updated.get("known", 0), updated.get("average", 0.0)
            if known:
                average += (updated["tokens"] - average) * max(WEIGHT, 1 / known)
            at = beat.received_at.isoformat()
            updated = {"known": known + 1, "average": round(average, 3), "tokens": beat.tokens, "at": at}
    return updated


def check(facts: Facts) -> Finding | None:
    """A warning while the last heartbeat with tokens had more than `factor` times the average before it (3)."""
    usual, tokens = facts.state.get("average", 0.0), facts.state.get("tokens", 0)
    factor = max(1.0, float(facts.thresholds.get("factor", FACTOR)))
    if facts.state.get("known", 0) <= KNOWN or tokens <= factor * usual:
        return None
    return Finding(
        kind=signal_kinds.COST,
        severity=WARNING,
        reason=f"{tokens:,} tokens in one heartbeat; usually {usual:,.0f}",
        started_at=datetime.fromisoformat(facts.state["at"]),
        evidence={"pattern": KIND, "tokens": tokens, "usual": round(usual), "factor": factor},
    )
