"""Someone reports another restart target or runner for the agent than its own.

Its own ones are pinned by `domain/pinning.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from agents.domain import signal_kinds
from agents.rules.evidence import EvidenceLabel, EvidenceLabels
from agents.rules.facts import WARNING, BeatSeen, Facts, Finding
from agents.rules.thresholds import Thresholds

KIND = "restart_target"
LABEL = "Other restart target"
THRESHOLDS: Thresholds = ()
# Runners report every 30 s, so a claim that was not repeated for this long is over.
OVER_AFTER: Final = timedelta(minutes=10)
EVIDENCE: EvidenceLabels = {
    "claimed": EvidenceLabel("Also reported"),
    "pinned": EvidenceLabel("Restarts and stops go to"),
}


def read(state: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Keep the last claim, and when claims began."""
    claims = [beat for beat in beats if beat.claimed]
    if not claims:
        return dict(state)
    last = claims[-1].received_at
    begun = state.get("since") if state and not _is_over(state, claims[0].received_at) else None
    return {
        "claimed": claims[-1].claimed,
        "since": begun or claims[0].received_at.isoformat(),
        "at": last.isoformat(),
    }


def check(facts: Facts) -> Finding | None:
    if not facts.state or _is_over(facts.state, facts.now):
        return None
    pinned = f"{facts.row.restart_type}:{facts.row.restart_target}"
    claimed = facts.state["claimed"]
    return Finding(
        kind=signal_kinds.ERROR,
        severity=WARNING,
        reason=f"Another restart target was reported: {claimed}. Restarts and stops still go to {pinned}",
        started_at=datetime.fromisoformat(facts.state["since"]),
        evidence={"claimed": claimed, "pinned": pinned},
    )


def _is_over(state: Mapping[str, Any], now: datetime) -> bool:
    return now - datetime.fromisoformat(state["at"]) >= OVER_AFTER
