"""A job's run takes longer than expected, or ended without saying so."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from agents.domain import jobs
from agents.domain.durations import spoken
from agents.rules.evidence import DETAIL, SECONDS, EvidenceLabel, EvidenceLabels, Setting
from agents.rules.facts import CRITICAL, Facts, Finding, since
from agents.rules.thresholds import Thresholds

KIND = "took_too_long"
LABEL = "Took too long"
THRESHOLDS: Thresholds = ()
EVIDENCE: EvidenceLabels = {
    "run_began_at": EvidenceLabel("Run began"),
    "longest": EvidenceLabel("Expected to take at most", unit=SECONDS),
    "running": EvidenceLabel("Runs in progress", DETAIL),
    "rid": EvidenceLabel("Run ID", DETAIL, is_code=True),
}


def allow(evidence: Mapping[str, Any]) -> Setting:
    return Setting("Expected? Increase the job’s expected duration.")


def dismissed(memory: Mapping[str, Any], evidence: Mapping[str, Any]) -> dict[str, Any]:
    """All runs that had begun by then are waived."""
    return {"waived": evidence["run_began_at"]}


def check(facts: Facts) -> Finding | None:
    """Critical until the run ends or a later one succeeds. Each overlapping run is judged on its own."""
    if facts.job is None:
        return None
    waived = datetime.fromisoformat(facts.state["waived"]) if facts.state else None
    late = [(run, limit) for run, limit in jobs.overlong(facts.job) if facts.now >= limit]
    late = [(run, limit) for run, limit in late if waived is None or run.at > waived]
    if not late:
        return None
    run, limit = late[0]
    longest = (limit - run.at).total_seconds()
    lasted = spoken(since(run.at, facts.now))
    return Finding(
        kind=KIND,
        severity=CRITICAL,
        reason=f"Running for {lasted}; expected to take at most {spoken(longest)}",
        started_at=limit,
        evidence={
            "run_began_at": run.at.isoformat(),
            "longest": longest,
            "running": sum(other.is_open for other in facts.job.runs),
            **({"rid": run.rid} if run.rid else {}),
        },
    )
