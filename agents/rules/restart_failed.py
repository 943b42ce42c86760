"""The restart limit is reached and the agent still hasn't recovered. It is not restarted again until it does."""

from agents.domain import restart_policy
from agents.domain.durations import spoken
from agents.rules.evidence import NOWHERE, EvidenceLabel, EvidenceLabels
from agents.rules.facts import CRITICAL, Facts, Finding, since
from agents.rules.thresholds import Thresholds

KIND = restart_policy.FAILED
LABEL = "Restart failed"
THRESHOLDS: Thresholds = ()
EVIDENCE: EvidenceLabels = {
    "restarts": EvidenceLabel("Restarts", NOWHERE),
    "first_at": EvidenceLabel("First restart"),
    "last_at": EvidenceLabel("Last restart"),
}


def check(facts: Facts) -> Finding | None:
    """Critical once the last restart had its time; open as long as the signals the restarts were for."""
    restarts = facts.restarts
    if not restarts.needed_for:
        return None
    if restarts.given_up is not None:
        return restarts.given_up
    if not restart_policy.has_failed(restarts.made, facts.now, restarts.patience, restarts.delays):
        return None
    made = restart_policy.counted(restarts.made, facts.now)
    return Finding(
        kind=KIND,
        severity=CRITICAL,
        reason=f"Gave up: {len(made)} restarts within {spoken(since(made[0], facts.now))} did not help",
        started_at=facts.now,
        evidence={"restarts": len(made), "first_at": made[0].isoformat(), "last_at": made[-1].isoformat()},
    )
