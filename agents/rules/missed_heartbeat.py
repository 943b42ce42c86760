"""Silence: no heartbeat past the alive clock's deadline."""

from collections.abc import Mapping
from typing import Any

from agents.domain.durations import spoken
from agents.rules.evidence import DETAIL, EvidenceLabel, EvidenceLabels, Setting
from agents.rules.facts import CRITICAL, Facts, Finding, since
from agents.rules.observers import runner_view
from agents.rules.thresholds import Threshold, Thresholds

KIND = "missed_heartbeat"
LABEL = "Missed heartbeat"
YEAR = 366 * 86_400
THRESHOLDS: Thresholds = (
    Threshold(
        "interval", float, None, "seconds", 1, YEAR, "Declared by the client, else learned, else 60.", column=True
    ),
    Threshold("grace", float, None, "seconds", 5, YEAR, "The project's, else one interval, at least 5.", column=True),
)

EVIDENCE: EvidenceLabels = {
    "last_heartbeat_at": EvidenceLabel("Last heartbeat"),
    "interval": EvidenceLabel("Expected every", DETAIL),
    "deadline": EvidenceLabel("Counts as down since", DETAIL),
    **runner_view.EVIDENCE,
}


def allow(evidence: Mapping[str, Any]) -> Setting:
    """Silence that long."""
    return Setting("If it may be silent that long, give it a longer interval or grace.", "interval")


def check(facts: Facts) -> Finding | None:
    """Critical once the deadline has passed, dated to when the beat was due.

    A crash explains its own silence, where it is told.
    """
    last = facts.seen.last_beat_at
    if not facts.is_silent or facts.is_crash_told or facts.alive is None or last is None:
        return None
    reason = f"No heartbeat for {spoken(since(last, facts.now))}; expected every {spoken(facts.interval)}"
    reason += runner_view.said(facts)
    evidence = {
        "last_heartbeat_at": last.isoformat(),
        "interval": round(facts.interval, 3),
        "deadline": facts.alive.deadline.isoformat(),
        **runner_view.evidence(facts),
    }
    return Finding(KIND, CRITICAL, reason, facts.alive.due_at, evidence)
