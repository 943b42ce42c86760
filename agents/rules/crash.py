"""The agent's process ended with an exception. The silence after it is the same incident, not a second one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from agents.domain.redaction import redacted, traceback_of
from agents.rules.evidence import NOWHERE, TEXT, EvidenceLabel, EvidenceLabels
from agents.rules.facts import CRITICAL, BeatSeen, Facts, Finding, is_over
from agents.rules.thresholds import Thresholds

KIND = "crash"
LABEL = "Crash"
THRESHOLDS: Thresholds = ()
TRACEBACK_KEPT = 3_000
EVIDENCE: EvidenceLabels = {"message": EvidenceLabel("Message", NOWHERE), "traceback": EvidenceLabel("Traceback", TEXT)}


def read(memory: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Keep the last crash: the end of its traceback, where the cause stands, and its time; until it is over."""
    crashes = [beat for beat in beats if _is_crash(beat)]
    if not crashes:
        return {} if is_over(beats) else dict(memory)
    message = redacted(crashes[-1].message.removeprefix("CRASH:").strip())
    at = crashes[-1].received_at.isoformat()
    return {"message": message, "traceback": traceback_of(crashes[-1].custom, TRACEBACK_KEPT), "at": at}


def check(facts: Facts) -> Finding | None:
    """Critical from the crash beat on; seen even when the agent was restarted before anyone looked."""
    if not facts.memory or not (facts.seen.crashed or any(_is_crash(beat) for beat in facts.beats)):
        return None
    message, at = facts.memory["message"], datetime.fromisoformat(facts.memory["at"])
    evidence = {"message": message, "traceback": facts.memory["traceback"]}
    return Finding(KIND, CRITICAL, f"Crashed: {message}"[:500], at, evidence)


def _is_crash(beat: BeatSeen) -> bool:
    return beat.status == "error" and beat.message.startswith("CRASH:")
