"""Today's spend against the day's budget: set by a person, else the `cost_limit_usd` that the client declared."""

from typing import Any

from agents.rules.base import CRITICAL, WARNING, Facts, Finding, Threshold, Thresholds

KIND = "cost"
LABEL = "Cost"
THRESHOLDS: Thresholds = (
    Threshold(
        "daily_budget_usd",
        float,
        None,
        "dollars",
        0,
        999_999,
        "No budget unless the client declares one with `cost_limit_usd`.",
        column=True,
    ),
)
# A warning from this share of the budget; the product's rule.
NEAR = 0.8


def check(facts: Facts) -> Finding | None:
    """A warning at 80 % of the budget, critical (`cost_exceeded`) at 100 %; over at the project's midnight."""
    budget = facts.budget
    if budget is None or facts.seen.day != facts.today or not facts.seen.cost_today:
        return None
    spent, exceeded = facts.seen.cost_today, facts.seen.cost_today >= budget
    if spent < budget * NEAR:
        return None
    reason = f"Spent {dollars(spent)} of {dollars(budget)} today"
    evidence = {"spent_usd": spent / 1_000_000, "budget_usd": budget / 1_000_000, "day": facts.today.isoformat()}
    severity = CRITICAL if exceeded else WARNING
    if facts.memory.get("dismissed") in (seal(evidence, severity), seal(evidence, CRITICAL)):
        return None
    return Finding(KIND, severity, reason, facts.seen.last_beat_at or facts.now, evidence)


def seal(evidence: dict[str, Any], severity: str) -> list[Any]:
    """What a person dismisses by hand: that day and budget, as bad as it was. Nearing it is not exceeding it."""
    return [evidence.get("day"), evidence.get("budget_usd"), severity]


def dollars(micros: int) -> str:
    """`$3.10`; under a cent with as many places as it needs."""
    return f"${micros / 1_000_000:,.2f}" if micros >= 10_000 or not micros else f"${micros / 1_000_000:.6f}".rstrip("0")
