"""Alive without progress: the process reports, the work does not move."""

from agents.rules import outside
from agents.rules.base import CRITICAL, Facts, Finding, since, spoken

KIND = "stalled"
LABEL = "Stalled"


def check(facts: Facts) -> Finding | None:
    """Critical past the progress clock's deadline, unless the agent is silent altogether or waits as declared."""
    last = facts.seen.last_progress_at
    if facts.progress is None or last is None or facts.now < facts.progress.deadline:
        return None
    if facts.is_silent or facts.is_waiting or facts.seen.crashed:
        return None
    reason = f"No progress for {spoken(since(last, facts.now))}"
    usual = facts.seen.usual_progress_gap
    if usual:
        reason += f"; usually every {spoken(max(1, usual))}"
    reason += outside.said(facts)
    deadline = facts.progress.deadline.isoformat()
    evidence = {
        "last_progress_at": last.isoformat(),
        "usual_gap": usual,
        "deadline": deadline,
        **outside.evidence(facts),
    }
    return Finding(KIND, CRITICAL, reason, facts.progress.due_at, evidence)
