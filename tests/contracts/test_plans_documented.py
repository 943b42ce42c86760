"""docs/plans.md lists the limits of billing/plans.py."""

from __future__ import annotations

from django.conf import settings

from billing.plans import ALL, Plan


def row(plan: Plan) -> str:
    def limit(number: int | None) -> str:
        return "no limit" if number is None else f"{number:,}"

    bounds = (f"{plan.history_days} days", f"{plan.requests_per_minute:,}", f"{plan.shortest_interval:g} s")
    return " | ".join(
        [plan.label, limit(plan.agents), *bounds, *map(limit, (plan.members, plan.projects, plan.channels))]
    )


def test_documented_limits_match_the_plans() -> None:
    text = (settings.BASE_DIR / "docs" / "plans.md").read_text()
    assert [plan.key for plan in ALL if f"| {row(plan)} |" not in text] == []
