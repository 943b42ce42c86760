"""The agent, or the runner that watches it, reports an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from agents.domain.notes import EXPECTED
from agents.domain.redaction import last_lines_of, redacted, traceback_of
from agents.rules.evidence import DETAIL, NOWHERE, TEXT, EvidenceLabel, EvidenceLabels
from agents.rules.facts import CRITICAL, WARNING, BeatSeen, Facts, Finding, is_over
from agents.rules.observers import runner_view
from agents.rules.thresholds import Thresholds

KIND = "error"
LABEL = "Error"
THRESHOLDS: Thresholds = ()
MAX_TRACEBACK: Final = 3_000
MAX_LAST_LINES: Final = 4_000
EVIDENCE: EvidenceLabels = {
    "message": EvidenceLabel("Message", NOWHERE),
    "by_runner": EvidenceLabel(
        "Reported by", DETAIL, values={True: "the runner: its target is not running", False: ""}
    ),
    "traceback": EvidenceLabel("Traceback", TEXT),
    "last_lines": EvidenceLabel("Last lines of its log", TEXT),
    **runner_view.EVIDENCE,
}


def read(state: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Keep the last error's message, traceback and time: the signal stays open long after its heartbeat was read."""
    errors = [beat for beat in beats if _is_error(beat)]
    if not errors:
        return {} if is_over(beats) else dict(state)
    last = errors[-1]
    message = redacted(last.message) or "The agent reported an error"
    traceback = traceback_of(last.custom, MAX_TRACEBACK) if "traceback" in last.custom.lower() else ""
    kept: dict[str, Any] = {"message": message, "at": last.received_at.isoformat()}
    kept |= {"of_run": True} if last.job else {}
    texts = {"traceback": traceback, "last_lines": _last_lines(state, beats)}
    return kept | {name: text for name, text in texts.items() if text}


def _last_lines(state: Mapping[str, Any], beats: Sequence[BeatSeen]) -> str:
    """Runners send them once per failure, so they stay until it is over."""
    known = "" if is_over(beats) else str(state.get("last_lines", ""))
    return next((text for beat in reversed(beats) if (text := last_lines_of(beat.custom, MAX_LAST_LINES))), known)


def check(facts: Facts) -> Finding | None:
    """A warning while the last report is an error; critical when a runner says its target is not running.

    Also found if a good heartbeat followed before the review ran: the error happened, so it is reported.
    """
    is_open = facts.row.reported == "error" and not facts.row.crashed
    if not facts.state or not (is_open or any(_is_error(beat) for beat in facts.beats)):
        return None
    if facts.job is not None and facts.state.get("of_run"):
        return None  # a signal of its own: `jobs/job_failed.py`
    message, texts = facts.state["message"], {name: facts.state.get(name) for name in ("traceback", "last_lines")}
    return Finding(
        kind=KIND,
        severity=CRITICAL if facts.row.runner_down else WARNING,
        reason=message[:500],
        started_at=datetime.fromisoformat(facts.state["at"]),
        evidence={
            "message": message,
            "by_runner": facts.row.runner_down,
            **runner_view.evidence(facts),
            **{name: text for name, text in texts.items() if text},
        },
    )


def _is_error(beat: BeatSeen) -> bool:
    return beat.status == "error" and not beat.message.startswith("CRASH:") and beat.note != EXPECTED
