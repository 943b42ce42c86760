"""All restarts that the budget allows were made, and it still does not work: given up, until it recovers."""

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
    """Critical once the last restart had its time; it stands as long as what was to be cured stands."""
    done = facts.restarts
    if not done.needed_for:
        return None
    if done.given_up is not None:
        return done.given_up
    if not restart_policy.has_failed(done.made, facts.now, done.patience, done.delays):
        return None
    made = restart_policy.counted(done.made, facts.now)
    reason = f"Gave up: {len(made)} restarts within {spoken(since(made[0], facts.now))} did not help"
    evidence = {"restarts": len(made), "first_at": made[0].isoformat(), "last_at": made[-1].isoformat()}
    return Finding(KIND, CRITICAL, reason, facts.now, evidence)
