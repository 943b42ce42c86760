"""A budget is nearly used up or exceeded: the agent's daily, token or run budget, or its project's monthly budget.

Where the limits come from: the daily budget is set by a person, else declared by the client (`cost_limit_usd`); token
and run limits are set on the agent, the monthly budget on the project. Both levels are product decisions: a warning at
80 %, critical (`cost_exceeded`, on hold) at 100 %. Days and months begin at the project's midnight, a run when the
client starts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from agents.domain import budgets
from agents.domain.budgets import CRITICAL, DAY, MONTH, RUN, TOKENS, WARNING, Budget, BudgetRecord, Limits
from agents.domain.money import MICRO, dollars
from agents.rules.evidence import DETAIL, NOWHERE, EvidenceLabel, EvidenceLabels, Setting
from agents.rules.facts import BeatSeen, Facts, Finding
from agents.rules.observers import burn_rate
from agents.rules.spending import forecast, wording
from agents.rules.thresholds import Threshold, Thresholds

KIND = "cost"
LABEL = "Budget exceeded"
PACE: Final = "pace"
THRESHOLDS: Thresholds = (
    Threshold(
        name="daily_budget_usd",
        kind=float,
        unit="dollars",
        minimum=0,
        maximum=999_999,
        why="Declared by the client as `cost_limit_usd`, else no limit.",
        column=True,
    ),
    Threshold(
        name="daily_token_limit",
        kind=int,
        unit="tokens",
        minimum=0,
        maximum=10**15,
        why="No limit unless set.",
        column=True,
    ),
    Threshold(
        name="run_budget_usd",
        kind=float,
        unit="dollars",
        minimum=0,
        maximum=999_999,
        why="No limit unless set.",
        column=True,
    ),
    Threshold(
        name=PACE,
        kind=float,
        unit="times the usual hour",
        minimum=1,
        maximum=1_000,
        why="Off unless set: real work comes in bursts.",
    ),
)
BUDGET_NAMES: Final = {
    DAY: "per day",
    TOKENS: "tokens per day",
    RUN: "per run",
    MONTH: "project, per month",
    PACE: "none: spending faster than usual",
}
EVIDENCE: EvidenceLabels = {
    "last_hour_usd": EvidenceLabel("Last hour"),
    "usual_hour_usd": EvidenceLabel("Usual hour"),
    "ends_at": EvidenceLabel("Budget resets"),
    "budget": EvidenceLabel("Budget type", DETAIL, values=BUDGET_NAMES),
    "period": EvidenceLabel("Period", DETAIL),
    "budget_usd": EvidenceLabel("Budget", DETAIL),
    "tokens": EvidenceLabel("Tokens used", DETAIL, "tokens"),
    "token_limit": EvidenceLabel("Token limit", DETAIL, "tokens"),
    "spent_usd": EvidenceLabel("Spent in the period", DETAIL),
    "priced_usd": EvidenceLabel("Priced by the server", DETAIL),
    "reported_usd": EvidenceLabel("Reported by the client", DETAIL),
    "unpriced_tokens": EvidenceLabel("Tokens without a known price", DETAIL, "tokens"),
    "unpriced_models": EvidenceLabel("Models without a known price", DETAIL),
    "reached_at": EvidenceLabel("Used up at this rate", DETAIL),
    "earliest_at": EvidenceLabel("Used up at the rate of the fastest 5 minutes", DETAIL),
    "times_usual": EvidenceLabel("Rate of the last hour", DETAIL, "times the usual"),
    "pace": EvidenceLabel("Alert threshold", DETAIL, "times the usual"),
    "budgets": EvidenceLabel("Budgets", NOWHERE),
}
TO_RAISE: Final = {
    DAY: Setting("Raise the budget, or resolve to ignore it for today.", "daily_budget_usd"),
    TOKENS: Setting("Raise the limit, or resolve to ignore it for today.", "daily_token_limit"),
    RUN: Setting("Raise the budget, or resolve to ignore it for this run.", "run_budget_usd"),
    MONTH: Setting(
        "Raise the project's budget, or resolve to ignore it for the rest of the month.",
        "monthly_budget_usd",
        of_project=True,
    ),
    PACE: Setting("Expected? Alert only from a higher multiple of the usual hour.", PACE),
}
# Hours cheaper than this, in micro-dollars, never alert: ten cents.
MIN_PACE: Final = 100_000


def read(state: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Keep how much was spent when; the budgets a person waived stay."""
    return burn_rate.read(state, beats)


def allow(evidence: Mapping[str, Any]) -> Setting | None:
    """A higher limit."""
    return TO_RAISE.get(evidence.get("budget", ""))


def check(facts: Facts) -> Finding | None:
    """The worst budget that is nearly used up or exceeded and not waived; else a pace that is too fast."""
    waived = facts.state.get("lifted")
    reached = [one for one in _budgets(facts) if one.severity and not budgets.is_waived(one.record, waived)]
    if not reached:
        return _check_pace(facts)
    reached.sort(key=lambda budget: (budget.severity != CRITICAL, -budget.share))
    worst = reached[0]
    return Finding(
        kind=KIND,
        severity=worst.severity,
        reason=wording.reason(worst, facts),
        started_at=facts.now if worst.name == MONTH else facts.row.last_beat_at or facts.now,
        evidence=_evidence(reached, facts),
    )


def _budgets(facts: Facts) -> list[Budget]:
    limits = Limits(day=facts.budget, run=facts.run_budget, tokens=facts.token_limit)
    return [*budgets.agent_budgets(facts.row, limits, facts.today), *_month(facts)]


def _month(facts: Facts) -> list[Budget]:
    """One agent warns for the whole project; once exceeded, every agent that ever reported has a finding."""
    if facts.month is None or facts.row.last_beat_at is None:
        return []
    budget = budgets.month_budget(facts.month)
    return [budget] if budget.severity == CRITICAL or facts.month.warns else []


def _check_pace(facts: Facts) -> Finding | None:
    """A warning while the last hour cost `pace` times the usual; off unless that is set."""
    limit, pace = facts.thresholds.get(PACE), forecast.pace(facts)
    if limit is None or pace.times_usual is None or pace.times_usual < limit or pace.cost < MIN_PACE:
        return None
    record = BudgetRecord(PACE, facts.today.isoformat(), limit, WARNING)
    if budgets.is_waived(record, facts.state.get("lifted")):
        return None
    today = Budget(DAY, facts.row.cost_today, 0, facts.today.isoformat())
    usual = f"{pace.times_usual:.1f} times the usual {dollars(round(pace.usual or 0))} per hour"
    reason = f"Spent {dollars(pace.cost)} in the last hour, {usual}"
    return Finding(
        kind=KIND,
        severity=WARNING,
        reason=reason + wording.without_price(today, facts),
        started_at=facts.row.last_beat_at or facts.now,
        evidence={
            "budget": PACE,
            **_money(today, facts),
            "times_usual": round(pace.times_usual, 1),
            "pace": limit,
            "budgets": [list(record)],
        },
    )


def dismissed(state: Mapping[str, Any], evidence: Mapping[str, Any]) -> dict[str, Any]:
    """The state after a person resolved it: these budgets are waived unless they get worse."""
    return {**state, "lifted": budgets.waive(state.get("lifted"), budgets.records_in(evidence))}


# Evidence


def _evidence(reached: Sequence[Budget], facts: Facts) -> dict[str, Any]:
    worst = reached[0]
    used_up, resets = forecast.used_up(worst, facts), forecast.resets_at(worst, facts)
    return {
        "budget": worst.name,
        "period": worst.period,
        **_limit(worst),
        **_money(worst, facts),
        "reached_at": used_up.at.isoformat() if used_up else None,
        "earliest_at": used_up.earliest.isoformat() if used_up and used_up.earliest else None,
        "ends_at": resets.isoformat() if resets else None,
        # All of them, the worst first: resolving the incident waives them.
        "budgets": [list(budget.record) for budget in reached],
    }


def _limit(budget: Budget) -> dict[str, Any]:
    if budget.name == TOKENS:
        return {"tokens": budget.used, "token_limit": budget.limit}
    return {"budget_usd": budget.limit / MICRO}


def _money(budget: Budget, facts: Facts) -> dict[str, Any]:
    """Priced, reported and unpriced spend, and the pace."""
    spend, pace = forecast.spend(budget, facts), forecast.pace(facts)
    return {
        "spent_usd": spend.cost / MICRO,
        "priced_usd": spend.priced / MICRO,
        "reported_usd": spend.reported / MICRO,
        "unpriced_tokens": spend.unpriced,
        "unpriced_models": sorted(forecast.unpriced_models(facts)) if budget.name == DAY else [],
        "last_hour_usd": pace.cost / MICRO,
        "usual_hour_usd": round(pace.usual / MICRO, 6) if pace.usual else None,
    }
