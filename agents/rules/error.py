"""The agent, or the runner that watches it, reports an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from agents.domain.notes import EXPECTED
from agents.domain.redaction import redacted, traceback_of
from agents.rules.evidence import DETAIL, NOWHERE, TEXT, EvidenceLabel, EvidenceLabels
from agents.rules.facts import CRITICAL, WARNING, BeatSeen, Facts, Finding, is_over
from agents.rules.observers import runner_view
from agents.rules.thresholds import Thresholds

KIND = "error"
LABEL = "Error"
THRESHOLDS: Thresholds = ()
TRACEBACK_KEPT = 3_000
EVIDENCE: EvidenceLabels = {
    "message": EvidenceLabel("Message", NOWHERE),
    "by_runner": EvidenceLabel(
        "Told by", DETAIL, values={True: "its runner: what it watches is not running", False: ""}
    ),
    "traceback": EvidenceLabel("Traceback", TEXT),
    **runner_view.EVIDENCE,
}


def read(memory: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Keep the last error's words, traceback and time: what stands is looked at again long after its beat was read."""
    errors = [beat for beat in beats if _is_told(beat)]
    if not errors:
        return {} if is_over(beats) else dict(memory)
    message = redacted(errors[-1].message) or "The agent reported an error"
    custom = errors[-1].custom
    trace = traceback_of(custom, TRACEBACK_KEPT) if "traceback" in custom.lower() else ""
    return {"message": message, "at": errors[-1].received_at.isoformat(), **({"traceback": trace} if trace else {})}


def check(facts: Facts) -> Finding | None:
    """A warning while the last report is an error; critical when a runner says that the target is not running.

    Found even if a good beat came right behind it: it happened, so it is told.
    """
    stands = facts.seen.reported == "error" and not facts.seen.crashed
    if not facts.memory or not (stands or any(_is_told(beat) for beat in facts.beats)):
        return None
    reason, at = facts.memory["message"], datetime.fromisoformat(facts.memory["at"])
    severity = CRITICAL if facts.seen.runner_down else WARNING
    evidence = {"message": reason, "by_runner": facts.seen.runner_down, **runner_view.evidence(facts)}
    if facts.memory.get("traceback"):
        evidence["traceback"] = facts.memory["traceback"]
    return Finding(KIND, severity, reason[:500], at, evidence)


def _is_told(beat: BeatSeen) -> bool:
    return beat.status == "error" and not beat.message.startswith("CRASH:") and beat.note != EXPECTED
