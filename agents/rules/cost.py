"""Spend against its budgets: an agent's day, its tokens a day, its run, and its project's month.

The day's budget is what a person set, else the `cost_limit_usd` that the client declared, in dollars; the tokens' and
the run's are what a person set for the agent, the month's what one set for the project. A warning at 80 %, critical
(`cost_exceeded`, and on hold) at 100 %, both the product's rule. Days and months begin at the project's midnight, a run
with a start of the client. Forecasts go by the last hour's pace (`burn_rate.py`), that of a month by the month so far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any, Final

from agents.domain import budgets
from agents.domain.budgets import CRITICAL, DAY, MONTH, RUN, TOKENS, WARNING, Budget, Limits, Month
from agents.domain.durations import o_clock
from agents.rules.evidence import DETAIL, NOWHERE, EvidenceLabel, EvidenceLabels, Setting
from agents.rules.facts import BeatSeen, Facts, Finding
from agents.rules.observers import burn_rate
from agents.rules.thresholds import Threshold, Thresholds

KIND = "cost"
LABEL = "Cost"
THRESHOLDS: Thresholds = (
    Threshold("daily_budget_usd", float, None, "dollars", 0, 999_999, "The client's `cost_limit_usd`.", column=True),
    Threshold("daily_token_limit", int, None, "tokens", 0, 10**15, "No limit unless a person sets one.", column=True),
    Threshold("run_budget_usd", float, None, "dollars", 0, 999_999, "No limit unless a person sets one.", column=True),
    Threshold("pace", float, None, "times the usual hour", 1, 1_000, "Not told unless set: real work comes in bursts."),
)
MODELS_NAMED: Final = 2
PACE: Final = "pace"
OF_WHAT: Final = {
    DAY: "of a day",
    TOKENS: "tokens a day",
    RUN: "of a run",
    MONTH: "of all agents of the project, a month",
    PACE: "none: it spends faster than usual",
}
EVIDENCE: EvidenceLabels = {
    "last_hour_usd": EvidenceLabel("Spent in the last hour"),
    "usual_hour_usd": EvidenceLabel("An hour usually costs"),
    "ends_at": EvidenceLabel("The budget begins anew"),
    "budget": EvidenceLabel("Which budget", DETAIL, values=OF_WHAT),
    "period": EvidenceLabel("For", DETAIL),
    "budget_usd": EvidenceLabel("Budget", DETAIL),
    "tokens": EvidenceLabel("Used", DETAIL, "tokens"),
    "token_limit": EvidenceLabel("Allowed", DETAIL, "tokens"),
    "spent_usd": EvidenceLabel("Spent in that time", DETAIL),
    "priced_usd": EvidenceLabel("Of that priced by the server", DETAIL),
    "reported_usd": EvidenceLabel("Of that as reported", DETAIL),
    "unpriced_tokens": EvidenceLabel("Without a known price", DETAIL, "tokens"),
    "unpriced_models": EvidenceLabel("Models without a known price", DETAIL),
    "reached_at": EvidenceLabel("Used up at this pace", DETAIL),
    "times_usual": EvidenceLabel("The last hour", DETAIL, "times the usual"),
    "pace": EvidenceLabel("Told from", DETAIL, "times the usual"),
    "budgets": EvidenceLabel("Budgets", NOWHERE),
}
TO_RAISE: Final = {
    DAY: Setting("A higher budget ends it; so does resolving this incident, for today.", "daily_budget_usd"),
    TOKENS: Setting("A higher limit ends it; so does resolving this incident, for today.", "daily_token_limit"),
    RUN: Setting("A higher budget ends it; so does resolving this incident, for this run.", "run_budget_usd"),
    MONTH: Setting(
        "A higher budget of the project ends it; so does resolving this incident, for the rest of the month.",
        "monthly_budget_usd",
        of_project=True,
    ),
    PACE: Setting("If it may spend as fast as that, say from how many times the usual hour on it is told.", PACE),
}
# Nobody is told of cents: micro-dollars of the last hour, a choice of ours.
MIN_PACE: Final = 100_000
# A month's pace is not told before so much of it has gone.
MONTH_BEGUN: Final = timedelta(days=1)
# So many times its usual pace is worth a word.
FAST: Final = 2.0


def read(memory: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Keep how much was spent when, and what a person let pass."""
    return burn_rate.read(memory, beats)


def allow(evidence: Mapping[str, Any]) -> Setting | None:
    """More money."""
    return TO_RAISE.get(evidence.get("budget", ""))


def check(facts: Facts) -> Finding | None:
    """The worst of the budgets that are nearly used up or exceeded, unless a person let it pass."""
    found = [one for one in _all(facts) if one.severity and not budgets.is_lifted(one, facts.memory.get("lifted"))]
    if not found:
        return _too_fast(facts)
    found.sort(key=lambda one: (one.severity != CRITICAL, -one.share))
    worst = found[0]
    began = facts.now if worst.name == MONTH else facts.seen.last_beat_at or facts.now
    return Finding(KIND, worst.severity, _reason(worst, facts), began, _evidence(found, facts))


def _all(facts: Facts) -> list[Budget]:
    limits = Limits(facts.budget, facts.run_budget, facts.token_limit)
    return [*budgets.of(facts.seen, limits, facts.today), *_everyones(facts)]


def _everyones(facts: Facts) -> list[Budget]:
    """The month's. Nearing it is one agent's to say, exceeding it everyone's who has ever reported."""
    if facts.month is None or facts.seen.last_beat_at is None:
        return []
    found = budgets.of_month(facts.month)
    return [found] if found.severity == CRITICAL or facts.month.tells else []


def dismissed(memory: Mapping[str, Any], evidence: Mapping[str, Any]) -> dict[str, Any]:
    """The state after a person resolved it: these budgets are waived unless they get worse."""
    return {**memory, "lifted": budgets.lift(memory.get("lifted"), evidence.get("budgets", ()))}


def _too_fast(facts: Facts) -> Finding | None:
    """A warning while the last hour cost so many times the usual; off unless `pace` is set."""
    most, pace = facts.thresholds.get(PACE), _pace_of(facts)
    standing = [PACE, facts.today.isoformat(), most, WARNING]
    if most is None or pace.times_usual is None or pace.times_usual < most or pace.cost < MIN_PACE:
        return None
    if (facts.memory.get("lifted") or {}).get(PACE) == standing[1:]:
        return None
    usual = dollars(round(pace.usual or 0))
    reason = f"Spent {dollars(pace.cost)} in the last hour, {pace.times_usual:.1f} times the usual {usual} an hour"
    today = Budget(DAY, facts.seen.cost_today, 0, facts.today.isoformat())
    evidence = {**_money(today, facts), "times_usual": round(pace.times_usual, 1), "pace": most, "budgets": [standing]}
    began = facts.seen.last_beat_at or facts.now
    return Finding(KIND, WARNING, reason + _without_price(today, facts), began, {"budget": PACE, **evidence})


# In words


def _reason(worst: Budget, facts: Facts) -> str:
    said = f"{_spent(worst, facts)}{_pace(worst, facts)}{_without_price(worst, facts)}"
    return said[:500]


def _spent(worst: Budget, facts: Facts) -> str:
    if worst.name == TOKENS:
        return f"Used {worst.used:,} of {worst.limit:,} tokens today"
    amount = f"{dollars(worst.used)} of {dollars(worst.limit)}"
    if worst.name == MONTH:
        here = f", {dollars(facts.seen.cost_month)} of it by this agent" if _is_this_month(facts) else ""
        return f"The project has spent {amount} this month{here}"
    return f"Spent {amount} {'today' if worst.name == DAY else 'in this run' + _since(facts)}"


def _since(facts: Facts) -> str:
    return f" (since {o_clock(facts.seen.run_at, facts.zone, facts.now)})" if facts.seen.run_at else ""


def _pace(worst: Budget, facts: Facts) -> str:
    pace = _pace_of(facts)
    times = pace.times_usual or 0.0
    fast = f", {times:.0f} times its usual pace" if times >= FAST and worst.name != MONTH else ""
    reached = reached_at(worst, facts)
    if reached is not None:
        by = "at the month’s pace" if worst.name == MONTH else "at the pace of the last hour"
        return f"; {by}{fast}{',' if fast else ''} the budget is used up at {o_clock(reached, facts.zone, facts.now)}"
    last = {DAY: dollars(pace.cost), RUN: dollars(pace.cost), TOKENS: f"{pace.tokens:,}"}.get(worst.name)
    used = pace.tokens if worst.name == TOKENS else pace.cost
    return f", {last} of it in the last hour{fast}" if last and 0 < used < worst.used else fast


def _without_price(worst: Budget, facts: Facts) -> str:
    """Money that nobody knows is not none: tokens without a price are said beside what they are missing from."""
    tokens = _spend(worst, facts)[2]
    if not tokens or worst.name == TOKENS:
        return ""
    models = sorted(_models(facts), key=lambda name: -_models(facts)[name]) if worst.name == DAY else []
    named = f" ({', '.join(models[:MODELS_NAMED])}{' …' if len(models) > MODELS_NAMED else ''})" if models else ""
    return f"; {tokens:,} tokens{named} have no known price and come on top"


def dollars(micros: int) -> str:
    """`$3.10`; under a cent with as many places as it needs."""
    return f"${micros / 1_000_000:,.2f}" if micros >= 10_000 or not micros else f"${micros / 1_000_000:.6f}".rstrip("0")


# As evidence


def _evidence(found: Sequence[Budget], facts: Facts) -> dict[str, Any]:
    worst = found[0]
    reached, ends = reached_at(worst, facts), ends_at(worst, facts)
    return {
        "budget": worst.name,
        "period": worst.period,
        **_limit(worst),
        **_money(worst, facts),
        "reached_at": reached.isoformat() if reached else None,
        "ends_at": ends.isoformat() if ends else None,
        # The worst one first: what a person lets pass who ends the incident by hand.
        "budgets": [[one.name, one.period, one.limit, one.severity] for one in found],
    }


def _money(worst: Budget, facts: Facts) -> dict[str, Any]:
    """Priced, reported and unpriced apart, and the pace."""
    cost, priced, unpriced = _spend(worst, facts)
    pace = _pace_of(facts)
    return {
        "spent_usd": cost / 1_000_000,
        "priced_usd": priced / 1_000_000,
        "reported_usd": (cost - priced) / 1_000_000,
        "unpriced_tokens": unpriced,
        "unpriced_models": sorted(_models(facts)) if worst.name == DAY else [],
        "last_hour_usd": pace.cost / 1_000_000,
        "usual_hour_usd": round(pace.usual / 1_000_000, 6) if pace.usual else None,
    }


def _limit(worst: Budget) -> dict[str, Any]:
    if worst.name == TOKENS:
        return {"tokens": worst.used, "token_limit": worst.limit}
    return {"budget_usd": worst.limit / 1_000_000}


def _spend(worst: Budget, facts: Facts) -> tuple[int, int, int]:
    """Micro-dollars that count and those of them that the server priced; tokens without a price."""
    seen, month = facts.seen, facts.month
    if worst.name == MONTH and month:
        return month.cost, month.priced, month.unpriced
    if worst.name == RUN:
        return seen.run_cost, seen.run_priced, seen.run_unpriced
    return seen.cost_today, seen.priced_today, sum(_models(facts).values())


def _models(facts: Facts) -> Mapping[str, int]:
    return facts.seen.unpriced or {} if facts.seen.day == facts.today else {}


def _is_this_month(facts: Facts) -> bool:
    day = facts.seen.day
    return day is not None and day.replace(day=1) == facts.today.replace(day=1)


# When


def _pace_of(facts: Facts) -> burn_rate.Pace:
    return burn_rate.pace(facts.memory, facts.now)


def reached_at(budget: Budget, facts: Facts) -> datetime | None:
    """When the budget will be used up if it goes on like this; None if not within its period, or too early to say."""
    if budget.severity == CRITICAL:
        return None
    an_hour = _an_hour(budget, facts)
    hours = (budget.limit - budget.used) / an_hour if an_hour else None
    if hours is None or hours > 24 * 366:
        return None
    reached, ends = facts.now + timedelta(hours=hours), ends_at(budget, facts)
    return reached if ends is None or reached < ends else None


def _an_hour(budget: Budget, facts: Facts) -> float:
    if budget.name != MONTH or facts.month is None:
        pace = _pace_of(facts)
        return pace.tokens_an_hour if budget.name == TOKENS else pace.cost_an_hour
    gone = facts.now - _midnight(facts.month.first, facts)
    return budget.used / (gone.total_seconds() / 3_600) if gone >= MONTH_BEGUN else 0.0


def ends_at(budget: Budget, facts: Facts) -> datetime | None:
    """When the budget begins anew by itself; None for a run."""
    if budget.name == RUN:
        return None
    if budget.name == MONTH and facts.month:
        return _midnight(next_month(facts.month), facts)
    return _midnight(facts.today + timedelta(days=1), facts)


def next_month(month: Month) -> date:
    return (month.first + timedelta(days=31)).replace(day=1)


def _midnight(day: date, facts: Facts) -> datetime:
    return datetime.combine(day, time.min, facts.zone)
