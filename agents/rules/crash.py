"""The agent's process ended with an exception. The silence that follows is the same incident, not a second one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from agents.domain.redaction import redacted, traceback_of
from agents.rules.evidence import NOWHERE, TEXT, EvidenceLabel, EvidenceLabels
from agents.rules.facts import CRITICAL, BeatSeen, Facts, Finding, is_over
from agents.rules.observers import runner_view
from agents.rules.thresholds import Thresholds

KIND = "crash"
LABEL = "Crash"
THRESHOLDS: Thresholds = ()
# How the published client's message begins.
PREFIX: Final = "CRASH:"
MAX_TRACEBACK: Final = 3_000
EVIDENCE: EvidenceLabels = {
    "message": EvidenceLabel("Message", NOWHERE),
    "traceback": EvidenceLabel("Traceback", TEXT),
    **runner_view.EVIDENCE,
}


def read(state: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Keep the last crash until it is over: its message, the end of its traceback (the cause), its time."""
    crashes = [beat for beat in beats if _is_crash(beat)]
    if not crashes:
        return {} if is_over(beats) else dict(state)
    last = crashes[-1]
    return {
        "message": redacted(last.message.removeprefix(PREFIX).strip()),
        "traceback": traceback_of(last.custom, MAX_TRACEBACK),
        "at": last.received_at.isoformat(),
    }


def check(facts: Facts) -> Finding | None:
    """Critical from the crash heartbeat on; also found if the agent was restarted before the review ran."""
    if not facts.state or not (facts.row.crashed or any(_is_crash(beat) for beat in facts.beats)):
        return None
    message = facts.state["message"]
    return Finding(
        kind=KIND,
        severity=CRITICAL,
        reason=f"Crashed: {message}"[:500],
        started_at=datetime.fromisoformat(facts.state["at"]),
        evidence={"message": message, "traceback": facts.state["traceback"], **runner_view.evidence(facts)},
    )


def _is_crash(beat: BeatSeen) -> bool:
    return beat.status == "error" and beat.message.startswith(PREFIX)
