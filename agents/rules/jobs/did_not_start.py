"""A job did not start: its time and the grace period have passed without a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agents.domain import jobs
from agents.domain.durations import spoken, time_of_day
from agents.domain.jobs import schedules
from agents.rules.evidence import DETAIL, SECONDS, EvidenceLabel, EvidenceLabels, Setting
from agents.rules.facts import CRITICAL, Facts, Finding
from agents.rules.thresholds import Thresholds

KIND = "did_not_start"
LABEL = "Did not start"
THRESHOLDS: Thresholds = ()
EVIDENCE: EvidenceLabels = {
    "expected_at": EvidenceLabel("Expected at"),
    "schedule": EvidenceLabel("Schedule", is_code=True),
    "start_grace": EvidenceLabel("Grace period", DETAIL, unit=SECONDS),
    "last_run_at": EvidenceLabel("Last run"),
}


def allow(evidence: Mapping[str, Any]) -> Setting:
    return Setting("Expected? Change the job’s schedule or its grace period.")


def dismissed(memory: Mapping[str, Any], evidence: Mapping[str, Any]) -> dict[str, Any]:
    """The run that did not start is waived, the following ones are not."""
    return {"waived": evidence["expected_at"]}


def check(facts: Facts) -> Finding | None:
    """Critical from the deadline until the job starts, dated to when it was expected."""
    job = facts.job
    if job is None or job.schedule is None:
        return None
    due = jobs.next_due(job)
    if due is None or facts.now < due.deadline:
        return None
    schedule = job.schedule
    last = max((run.at for run in job.runs), default=None)
    at = time_of_day(due.at, schedule.zone, facts.now)
    return Finding(
        kind=KIND,
        severity=CRITICAL,
        reason=f"Did not start: expected at {at} or up to {spoken(schedule.grace)} later",
        started_at=due.at,
        evidence={
            "expected_at": due.at.isoformat(),
            "schedule": schedules.spoken(schedule),
            "start_grace": schedule.grace,
            **({"last_run_at": last.isoformat()} if last else {}),
        },
    )
