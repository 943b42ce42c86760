"""A job ran more often than its schedule says, or several of its runs overlap more than allowed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from agents.domain import jobs
from agents.domain.durations import time_of_day
from agents.domain.jobs import schedules
from agents.rules.evidence import DETAIL, NOWHERE, EvidenceLabel, EvidenceLabels, Setting
from agents.rules.facts import WARNING, Facts, Finding
from agents.rules.thresholds import Threshold, Thresholds

KIND = "ran_too_often"
LABEL = "Ran too often"
THRESHOLDS: Thresholds = (
    Threshold(
        name="runs",
        kind=int,
        default=1,
        unit="runs",
        minimum=1,
        maximum=jobs.MAX_RUNS,
        why="A scheduler starts a job once each time; a retry after a failure does not count.",
    ),
    Threshold(
        name="at_once",
        kind=int,
        default=jobs.MAX_RUNS,
        unit="runs",
        minimum=1,
        maximum=jobs.MAX_RUNS,
        why="Many jobs may overlap. 1 for a job that must not.",
    ),
)
EVIDENCE: EvidenceLabels = {
    "runs": EvidenceLabel("Runs", NOWHERE),
    "last_began_at": EvidenceLabel("Last run began"),
    "run_schedule": EvidenceLabel("Schedule", DETAIL, is_code=True),
}
TWICE: Final = 2


def allow(evidence: Mapping[str, Any]) -> Setting:
    return Setting("Expected? Change the job’s schedule, or allow more runs.", "runs")


def dismissed(memory: Mapping[str, Any], evidence: Mapping[str, Any]) -> dict[str, Any]:
    return {"waived": evidence["last_began_at"]}


def check(facts: Facts) -> Finding | None:
    """A warning until the next scheduled time, or until fewer runs overlap."""
    job = facts.job
    if job is None or job.schedule is None or not job.runs:
        return None
    last = max(run.at for run in job.runs)
    if facts.state and last <= datetime.fromisoformat(facts.state["waived"]):
        return None
    reason, count = _too_many(facts, job)
    if not reason:
        return None
    return Finding(
        kind=KIND,
        severity=WARNING,
        reason=reason,
        started_at=last,
        evidence={
            "runs": count,
            "last_began_at": last.isoformat(),
            "run_schedule": schedules.spoken(job.schedule),
        },
    )


def _too_many(facts: Facts, job: jobs.Job) -> tuple[str, int]:
    limits, slot = facts.thresholds, jobs.last_slot(job)
    if slot is not None and facts.now < slot.until:
        allowed = limits["runs"] * (TWICE if slot.clock_set_back else 1)
        if len(slot.runs) > allowed and job.schedule:
            often = "once" if allowed == 1 else f"at most {allowed} times"
            first = time_of_day(slot.runs[0].at, job.schedule.zone, facts.now)
            return f"Ran {len(slot.runs)} times since {first}; expected {often}", len(slot.runs)
    judged = {run.rid for run, limit in jobs.overlong(job) if facts.now >= limit}
    at_once = [run for run in job.runs if run.is_open and run.rid not in judged]
    if len(at_once) > limits["at_once"]:
        return f"{len(at_once)} runs overlap; at most {limits['at_once']} may", len(at_once)
    return "", 0
