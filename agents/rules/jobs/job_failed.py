"""A job's last run failed: it said so, or its exit status is not 0."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from agents.domain import jobs
from agents.domain.durations import spoken
from agents.rules.evidence import DETAIL, NOWHERE, SECONDS, TEXT, EvidenceLabel, EvidenceLabels
from agents.rules.facts import CRITICAL, Facts, Finding
from agents.rules.thresholds import Thresholds

KIND = "job_failed"
LABEL = "Job failed"
THRESHOLDS: Thresholds = ()
# Characters of the last line of output that a reason repeats.
MAX_LINE: Final = 200
EVIDENCE: EvidenceLabels = {
    "exit_status": EvidenceLabel("Exit status", NOWHERE),
    "took": EvidenceLabel("Ran for", unit=SECONDS),
    "failed_at": EvidenceLabel("Failed at", DETAIL),
    "output": EvidenceLabel("Output", TEXT),
}


def dismissed(memory: Mapping[str, Any], evidence: Mapping[str, Any]) -> dict[str, Any]:
    return {"waived": evidence["failed_at"]}


# 128 + SIGKILL, as shells say it. Nothing but the kernel for lack of memory, or a person, sends it.
KILLED: Final = 137


def check(facts: Facts) -> Finding | None:
    """Critical until a run succeeds."""
    run = jobs.last_ended(facts.job.runs) if facts.job else None
    if run is None or run.ok or run.ended is None:
        return None
    if facts.state and run.ended <= datetime.fromisoformat(facts.state["waived"]):
        return None
    evidence = {
        "exit_status": run.exit_status,
        "took": run.duration,
        "failed_at": run.ended.isoformat(),
        "output": run.output,
    }
    return Finding(
        kind=KIND,
        severity=CRITICAL,
        reason=_reason(run),
        started_at=run.ended,
        evidence={name: value for name, value in evidence.items() if value not in (None, "")},
    )


def _reason(run: jobs.Run) -> str:
    how = "" if run.exit_status is None else f" with exit status {run.exit_status}"
    if run.exit_status == KILLED:
        how += ", killed (maybe out of memory),"
    after = "" if run.duration is None else f" after {spoken(run.duration)}"
    lines = [line.strip() for line in run.output.splitlines() if line.strip()]
    return f"Failed{how}{after}{f': {lines[-1][:MAX_LINE]}' if lines else ''}"
