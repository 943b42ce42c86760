"""Silence: no heartbeat past the alive clock's deadline."""

from agents.rules import outside
from agents.rules.base import CRITICAL, Facts, Finding, Threshold, Thresholds, since, spoken

KIND = "missed_heartbeat"
LABEL = "Missed heartbeat"
YEAR = 366 * 86_400
THRESHOLDS: Thresholds = (
    Threshold(
        "interval", float, None, "seconds", 1, YEAR, "Declared by the client, else learned, else 60.", column=True
    ),
    Threshold("grace", float, None, "seconds", 5, YEAR, "The project's, else one interval, at least 5.", column=True),
)


def check(facts: Facts) -> Finding | None:
    """Critical once the deadline has passed, dated to when the beat was due.

    A crash explains its own silence, where it is told.
    """
    last = facts.seen.last_beat_at
    if not facts.is_silent or facts.is_crash_told or facts.alive is None or last is None:
        return None
    reason = f"No heartbeat for {spoken(since(last, facts.now))}; expected every {spoken(facts.interval)}"
    reason += outside.said(facts)
    evidence = {
        "last_heartbeat_at": last.isoformat(),
        "interval": round(facts.interval, 3),
        "deadline": facts.alive.deadline.isoformat(),
        **outside.evidence(facts),
    }
    return Finding(KIND, CRITICAL, reason, facts.alive.due_at, evidence)
