"""The model is asked the same again and again. Off unless switched on: a schedule asks the same every time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from agents.domain import signal_kinds
from agents.rules.evidence import DETAIL, NOWHERE, EvidenceLabel, EvidenceLabels, Setting
from agents.rules.facts import WARNING, BeatSeen, Facts, Finding
from agents.rules.thresholds import Threshold, Thresholds

KIND = "repeated_prompts"
LABEL = "Repeated prompts"
# All of the five prompts whose hashes the published client sends.
TIMES = 5
LEAST = 2
THRESHOLDS: Thresholds = (
    Threshold("times", int, TIMES, "times", LEAST, 20, "All of the five prompts that the published client sends."),
)

EVIDENCE: EvidenceLabels = {
    "pattern": EvidenceLabel("Pattern", NOWHERE),
    "prompt": EvidenceLabel("Hash of the prompt", DETAIL, is_code=True),
    "count": EvidenceLabel("Times", NOWHERE),
    "of": EvidenceLabel("Among", NOWHERE),
    "at": EvidenceLabel("Last asked", DETAIL),
}


def allow(evidence: Mapping[str, Any]) -> Setting:
    """So many times."""
    return Setting("If it may ask the same again and again, allow it more times.", "times")


def read(memory: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Keep how often the most frequent prompt stands in the last window; a window without work around it is old."""
    last = next((beat for beat in reversed(beats) if beat.prompts), None)
    if last is None:
        return dict(memory)
    prompt, count = Counter(last.prompts).most_common(1)[0]
    return {"prompt": prompt[:64], "count": count, "of": len(last.prompts), "at": last.received_at.isoformat()}


def check(facts: Facts) -> Finding | None:
    """A warning from `times` equal prompts among the last ones on (5)."""
    count = facts.memory.get("count", 0)
    if count < max(LEAST, int(facts.thresholds.get("times", TIMES))):
        return None
    reason = f"The model was asked the same {count} times among the last {facts.memory['of']} prompts"
    at = datetime.fromisoformat(facts.memory["at"])
    return Finding(signal_kinds.LOOP, WARNING, reason, at, {"pattern": KIND, **facts.memory})
