"""Today's spend against the day's budget: set by a person, else the `cost_limit_usd` that the client declared."""

from agents.rules.base import CRITICAL, WARNING, Facts, Finding

KIND = "cost"
LABEL = "Cost"
# A warning from this share of the budget; the product's rule.
NEAR = 0.8


def check(facts: Facts) -> Finding | None:
    """A warning at 80 % of the budget, critical (`cost_exceeded`) at 100 %; over at the project's midnight."""
    budget = facts.budget
    if budget is None or facts.seen.day != facts.today or not facts.seen.cost_today:
        return None
    spent, exceeded = facts.seen.cost_today, facts.seen.cost_today >= budget
    if spent < budget * NEAR or facts.memory.get("dismissed") == facts.today.isoformat():
        return None
    reason = f"Spent {dollars(spent)} of {dollars(budget)} today"
    evidence = {"spent_usd": spent / 1_000_000, "budget_usd": budget / 1_000_000, "day": facts.today.isoformat()}
    return Finding(KIND, CRITICAL if exceeded else WARNING, reason, facts.seen.last_beat_at or facts.now, evidence)


def dollars(micros: int) -> str:
    """`$3.10`; under a cent with as many places as it needs."""
    return f"${micros / 1_000_000:,.2f}" if micros >= 10_000 or not micros else f"${micros / 1_000_000:.6f}".rstrip("0")
