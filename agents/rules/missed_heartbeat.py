"""No heartbeat by the deadline: the interval and the grace period have passed."""

from collections.abc import Mapping
from typing import Any, Final

from agents.domain.clocks import Clock
from agents.domain.durations import spoken
from agents.rules.evidence import DETAIL, SECONDS, EvidenceLabel, EvidenceLabels, Setting
from agents.rules.facts import CRITICAL, Facts, Finding, since
from agents.rules.observers import runner_view
from agents.rules.thresholds import Threshold, Thresholds

KIND = "missed_heartbeat"
LABEL = "Missed heartbeat"
YEAR: Final = 366 * 86_400
THRESHOLDS: Thresholds = (
    Threshold(
        name="interval",
        kind=float,
        unit="seconds",
        minimum=1,
        maximum=YEAR,
        why="Declared by the client, else learned, else 60.",
        column=True,
    ),
    Threshold(
        name="grace",
        kind=float,
        unit="seconds",
        minimum=5,
        maximum=YEAR,
        why="The project's default, else one interval, at least 5.",
        column=True,
    ),
)

EVIDENCE: EvidenceLabels = {
    "last_heartbeat_at": EvidenceLabel("Last heartbeat"),
    "interval": EvidenceLabel("Expected every", DETAIL),
    "deadline": EvidenceLabel("Down since", DETAIL),
    "offline": EvidenceLabel("Watchdog offline for", DETAIL, unit=SECONDS),
    **runner_view.EVIDENCE,
}


def allow(evidence: Mapping[str, Any]) -> Setting:
    """A longer silence."""
    return Setting("Expected? Increase the interval or grace period.", "interval")


def check(facts: Facts) -> Finding | None:
    """Critical once the deadline has passed, dated to when the heartbeat was due.

    A crash explains its own silence, as long as the crash rule reports it.
    """
    last = facts.row.last_beat_at
    if not facts.is_silent or facts.is_crash_reported or facts.alive is None or last is None:
        return None
    silence = f"No heartbeat for {spoken(since(last, facts.now))}; expected every {spoken(facts.interval)}"
    return Finding(
        kind=KIND,
        severity=CRITICAL,
        reason=silence + (runner_view.summary(facts) or _lost_goodbye(facts.alive)),
        started_at=facts.alive.due_at,
        evidence={
            "last_heartbeat_at": last.isoformat(),
            "interval": round(facts.interval, 3),
            "deadline": facts.alive.deadline.isoformat(),
            **({"offline": round(facts.alive.offline.total_seconds(), 3)} if facts.alive.offline else {}),
            **runner_view.evidence(facts),
        },
    )


def _lost_goodbye(alive: Clock) -> str:
    """Without a runner nobody knows whether the agent failed, or ended while the watchdog could not hear it."""
    if not alive.offline:
        return ""
    return (
        f". The watchdog was offline for {spoken(alive.offline.total_seconds())} since then; it may have ended normally"
    )
