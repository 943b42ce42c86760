"""The model gets the same prompt again and again. Off by default: scheduled agents repeat their prompt on purpose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from agents.domain import signal_kinds
from agents.rules.evidence import DETAIL, NOWHERE, EvidenceLabel, EvidenceLabels, Setting
from agents.rules.facts import WARNING, BeatSeen, Facts, Finding
from agents.rules.thresholds import Threshold, Thresholds

KIND = "repeated_prompts"
LABEL = "Repeated prompts"
# The published client sends the hashes of five prompts: all of them.
TIMES: Final = 5
MIN_TIMES: Final = 2
THRESHOLDS: Thresholds = (
    Threshold(
        name="times",
        kind=int,
        default=TIMES,
        unit="times",
        minimum=MIN_TIMES,
        maximum=20,
        why="The published client reports its last five prompts: all of them are the same.",
    ),
)

EVIDENCE: EvidenceLabels = {
    "pattern": EvidenceLabel("Pattern", NOWHERE),
    "prompt": EvidenceLabel("Prompt hash", DETAIL, is_code=True),
    "count": EvidenceLabel("Times", NOWHERE),
    "of": EvidenceLabel("Of", NOWHERE),
    "at": EvidenceLabel("Last time", DETAIL),
}


def allow(evidence: Mapping[str, Any]) -> Setting:
    """More repetitions."""
    return Setting("Expected? Allow more repetitions.", "times")


def read(state: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Keep how often the most frequent prompt occurs in the last window of prompts."""
    last = next((beat for beat in reversed(beats) if beat.prompts), None)
    if last is None:
        return dict(state)
    prompt, count = Counter(last.prompts).most_common(1)[0]
    return {"prompt": prompt[:64], "count": count, "of": len(last.prompts), "at": last.received_at.isoformat()}


def check(facts: Facts) -> Finding | None:
    """A warning once `times` of the last prompts are equal (5)."""
    count = facts.state.get("count", 0)
    if count < max(MIN_TIMES, int(facts.thresholds.get("times", TIMES))):
        return None
    return Finding(
        kind=signal_kinds.LOOP,
        severity=WARNING,
        reason=f"{count} of the last {facts.state['of']} prompts were the same",
        started_at=datetime.fromisoformat(facts.state["at"]),
        evidence={"pattern": KIND, **facts.state},
    )
