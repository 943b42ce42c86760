"""Budget findings: reasons, evidence, forecasts, waivers and pace."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from agents.domain.budgets import ALL_WAIVED, Month
from agents.rules import cost
from agents.rules.facts import BeatSeen, Finding
from agents.rules.observers import burn_rate
from tests.agents.rules.conftest import quiet_facts

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
DOLLAR = 1_000_000


@dataclass
class Row:
    """The hot-row columns that the rule reads."""

    day: date | None = date(2026, 5, 4)
    tokens_today: int = 0
    cost_today: int = 0
    priced_today: int = 0
    unpriced: dict[str, int] = field(default_factory=dict)
    cost_month: int = 0
    run_at: datetime | None = NOON - timedelta(hours=2)
    run_cost: int = 0
    run_priced: int = 0
    run_unpriced: int = 0
    last_beat_at: datetime | None = NOON


def judged(row: Row, now: datetime = NOON, state: Any = None, **fields: Any) -> Finding | None:
    return cost.check(quiet_facts(now, row, state=state or {}, **fields))


def found(row: Row, *args: Any, **given: Any) -> Finding:
    result = judged(row, *args, **given)
    assert result is not None
    return result


def spending(each: int, minutes: int = 60, every: int = 5, tokens: int = 0) -> dict[str, Any]:
    """The rule's state for an agent that spent `each` every few minutes until noon."""
    times = [NOON - timedelta(minutes=before) for before in range(minutes, 0, -every)]
    return burn_rate.read({}, [BeatSeen(at, "ok", cost=each, tokens=tokens) for at in times])


def test_warns_at_80_and_is_exceeded_at_100_percent() -> None:
    limit = 50 * DOLLAR
    told = {spent: judged(Row(cost_today=spent), budget=limit) for spent in (limit * 4 // 5 - 1, limit * 4 // 5)}
    assert [bool(one) for one in told.values()] == [False, True]
    severity = {spent: found(Row(cost_today=spent), budget=limit).severity for spent in (limit - 1, limit)}
    assert list(severity.values()) == ["warning", "critical"]


def test_no_spend_exceeds_no_budget() -> None:
    assert judged(Row(), budget=0) is None
    assert found(Row(cost_today=1), budget=0).reason == "Spent $0.000001 of $0.00 today"


def test_reason_forecasts_when_it_is_used_up() -> None:
    """$0.10 every five minutes for two hours is $1.20 per hour, and $5.60 are left."""
    row = Row(cost_today=44_400_000)
    one = found(row, state=spending(100_000, minutes=120), budget=50 * DOLLAR)
    assert one.reason == "Spent $44.40 of $50.00 today; at the last hour’s rate the budget will be used up at 16:40"
    assert one.evidence["reached_at"] == datetime(2026, 5, 4, 16, 40, tzinfo=UTC).isoformat()
    assert one.evidence["last_hour_usd"] == 1.2


def test_times_use_the_projects_time_zone() -> None:
    row, zone = Row(cost_today=44_400_000), ZoneInfo("Asia/Kolkata")
    state = spending(100_000, minutes=120)
    assert found(row, state=state, budget=50 * DOLLAR, zone=zone).reason.endswith("used up at 22:10")


def test_no_forecast_beyond_midnight() -> None:
    one = found(Row(cost_today=41 * DOLLAR), state=spending(10_000, minutes=120), budget=50 * DOLLAR)
    assert (one.reason, one.evidence["reached_at"]) == (
        "Spent $41.00 of $50.00 today, $0.12 of it in the last hour",
        None,
    )


def test_pace_needs_ten_minutes() -> None:
    row = Row(cost_today=41 * DOLLAR)
    assert found(row, state=spending(DOLLAR, 5, 1), budget=50 * DOLLAR).evidence["reached_at"] is None
    assert found(row, state=spending(DOLLAR, 10, 1), budget=50 * DOLLAR).evidence["reached_at"] is not None


def test_reason_mentions_an_unusual_rate() -> None:
    days = [
        BeatSeen(NOON - timedelta(days=day, hours=hour), "ok", cost=300_000) for day in (4, 3, 2, 1) for hour in (0, 1)
    ]
    state = burn_rate.read(
        burn_rate.read({}, days),
        [BeatSeen(NOON - timedelta(minutes=at), "ok", cost=100_000) for at in range(120, 0, -5)],
    )
    one = found(Row(cost_today=44_400_000), state=state, budget=50 * DOLLAR)
    assert one.evidence["usual_hour_usd"] == 0.3
    assert "at the last hour’s rate (4 times the usual) the budget will be used up at 16:40" in one.reason


def test_exceeded_reason_names_the_last_hour() -> None:
    one = found(Row(cost_today=51 * DOLLAR), state=spending(250_000), budget=50 * DOLLAR)
    assert one.reason == "Spent $51.00 of $50.00 today, $3.00 of it in the last hour"


def test_priced_reported_and_unpriced_are_separate() -> None:
    row = Row(cost_today=9 * DOLLAR, priced_today=7 * DOLLAR, unpriced={"house": 12_000, "other": 300})
    one = found(row, budget=10 * DOLLAR)
    assert one.reason == "Spent $9.00 of $10.00 today; plus 12,300 tokens without a known price (house, other)"
    shown = {name: one.evidence[name] for name in ("spent_usd", "priced_usd", "reported_usd", "unpriced_tokens")}
    assert shown == {"spent_usd": 9.0, "priced_usd": 7.0, "reported_usd": 2.0, "unpriced_tokens": 12_300}


def test_yesterdays_spend_does_not_count() -> None:
    yesterday = Row(day=NOON.date() - timedelta(days=1), cost_today=99 * DOLLAR, tokens_today=10**9)
    assert judged(yesterday, budget=10 * DOLLAR, token_limit=10) is None


def test_daily_token_limit() -> None:
    one = found(Row(tokens_today=900_000), state=spending(0, tokens=5_000, minutes=120), token_limit=1_000_000)
    assert one.reason.startswith("Used 900,000 of 1,000,000 tokens today; at the last hour’s rate")
    assert (one.evidence["token_limit"], one.evidence["reached_at"]) == (1_000_000, "2026-05-04T13:40:00+00:00")


def test_run_reason_names_its_start() -> None:
    one = found(Row(run_cost=3 * DOLLAR, run_priced=2 * DOLLAR, run_unpriced=40), run_budget=2 * DOLLAR)
    assert one.reason == "Spent $3.00 of $2.00 in this run (since 10:00); plus 40 tokens without a known price"
    assert (one.evidence["reported_usd"], one.evidence["ends_at"]) == (1.0, None)


def month(spent: int, **fields: Any) -> Month:
    return Month(date(2026, 5, 1), 100 * DOLLAR, cost=spent * DOLLAR, **fields)


def test_month_forecast_uses_the_last_hour() -> None:
    """$4 per hour, whatever the month was like: the remaining $16 last four hours."""
    one = found(Row(cost_month=84 * DOLLAR), state=spending(DOLLAR // 3, minutes=120), month=month(84))
    assert one.reason == (
        "The project has spent $84.00 of $100.00 this month, $84.00 of it by this agent; "
        "at the last hour’s rate the budget will be used up at 16:00"
    )
    assert one.evidence["ends_at"] == "2026-06-01T00:00:00+00:00"


def test_month_forecast_expects_others_in_proportion() -> None:
    one = found(Row(cost_month=42 * DOLLAR), state=spending(DOLLAR // 3, minutes=120), month=month(84))
    assert one.reason.endswith(
        "at the rate of this agent’s last hour, with the others in proportion, the budget will be used up at 14:00"
    )


def test_month_has_no_forecast_without_recent_spend() -> None:
    """A mean over the month says nothing about now, least of all in a project that is half an hour old."""
    one = found(Row(cost_month=30 * DOLLAR), month=month(84))
    assert one.reason == "The project has spent $84.00 of $100.00 this month, $30.00 of it by this agent"
    assert one.evidence["reached_at"] is None


def test_unsteady_spend_has_two_forecasts() -> None:
    """$0.10 every five minutes and, just now, $3: at that rate the rest is gone within minutes."""
    state = burn_rate.read(
        spending(100_000, minutes=120), [BeatSeen(NOON - timedelta(seconds=10), "ok", cost=3 * DOLLAR)]
    )
    one = found(Row(cost_today=46 * DOLLAR), state=state, budget=50 * DOLLAR)
    assert one.reason.endswith("will be used up at 12:57, at that of its fastest 5 minutes at 12:06")
    assert one.evidence["earliest_at"] < one.evidence["reached_at"]


def test_one_agent_warns_and_all_exceed_the_month() -> None:
    assert judged(Row(), month=month(84, warns=False)) is None
    assert found(Row(), month=month(100, warns=False)).severity == "critical"


def test_agent_that_never_reported_is_not_held() -> None:
    assert judged(Row(last_beat_at=None), month=month(100)) is None


def test_evidence_lists_all_budgets() -> None:
    one = found(Row(cost_today=9 * DOLLAR, run_cost=2 * DOLLAR), budget=10 * DOLLAR, run_budget=2 * DOLLAR)
    assert one.evidence["budget"] == "run"
    assert [(name, severity) for name, _, _, severity in one.evidence["budgets"]] == [
        ("run", "critical"),
        ("day", "warning"),
    ]


def test_waiver_lasts_until_worse_or_next_day() -> None:
    near = found(Row(cost_today=9 * DOLLAR), budget=10 * DOLLAR)
    state = cost.dismissed({"steps": []}, near.evidence)
    assert judged(Row(cost_today=9_500_000), state=state, budget=10 * DOLLAR) is None
    worse = found(Row(cost_today=10 * DOLLAR), state=state, budget=10 * DOLLAR)
    state = cost.dismissed(state, worse.evidence)
    assert judged(Row(cost_today=30 * DOLLAR), state=state, budget=10 * DOLLAR) is None
    assert judged(Row(cost_today=30 * DOLLAR), state=state, budget=11 * DOLLAR) is not None
    tomorrow = NOON + timedelta(days=1)
    assert judged(Row(day=tomorrow.date(), cost_today=30 * DOLLAR), tomorrow, state, budget=10 * DOLLAR) is not None


def test_waivers_are_per_budget() -> None:
    state = cost.dismissed({}, found(Row(cost_today=10 * DOLLAR), budget=10 * DOLLAR).evidence)
    state = cost.dismissed(state, found(Row(), month=month(100)).evidence)
    row = Row(cost_today=10 * DOLLAR, run_cost=DOLLAR)
    assert judged(row, state=state, budget=10 * DOLLAR, month=month(100)) is None
    assert found(row, state=state, budget=10 * DOLLAR, month=month(100), run_budget=DOLLAR).evidence["budget"] == "run"
    assert judged(row, state={"lifted": ALL_WAIVED}, budget=DOLLAR) is None


# The pace


def before_today(each: int = 300_000) -> dict[str, Any]:
    days = [BeatSeen(NOON - timedelta(days=day), "ok", cost=each) for day in (3, 2, 1)]
    return burn_rate.read({}, days)


def an_hour(state: dict[str, Any], each: int) -> dict[str, Any]:
    beats = [BeatSeen(NOON - timedelta(minutes=at), "ok", cost=each) for at in range(60, 0, -5)]
    return burn_rate.read(state, beats)


def test_unusual_pace_warns_if_set() -> None:
    state, row = an_hour(before_today(), 100_000), Row(cost_today=1_200_000, priced_today=1_000_000)
    assert judged(row, state=state) is None
    one = found(row, state=state, thresholds={"pace": 4})
    assert (one.severity, one.reason) == ("warning", "Spent $1.20 in the last hour, 4.0 times the usual $0.30 per hour")
    assert (one.evidence["priced_usd"], one.evidence["reported_usd"], one.evidence["unpriced_tokens"]) == (1.0, 0.2, 0)
    assert judged(row, state=state, thresholds={"pace": 4.1}) is None
    assert judged(row, NOON + timedelta(hours=2), state, thresholds={"pace": 4}) is None


def test_cents_and_new_agents_are_never_too_fast() -> None:
    row = Row(cost_today=1_200_000)
    assert judged(row, state=an_hour(before_today(1_000), 8_000), thresholds={"pace": 2}) is None
    assert judged(row, state=an_hour({}, 100_000), thresholds={"pace": 2}) is None


def test_waived_pace_is_silent_for_the_day() -> None:
    state, row = an_hour(before_today(), 100_000), Row(cost_today=1_200_000)
    state = cost.dismissed(state, found(row, state=state, thresholds={"pace": 4}).evidence)
    assert judged(row, state=state, thresholds={"pace": 4}) is None
    assert judged(row, state=state, thresholds={"pace": 3}) is not None


def test_pace_is_the_last_hours() -> None:
    state = spending(100_000, minutes=180)
    assert burn_rate.pace(state, NOON).cost_an_hour == 1_200_000
    assert burn_rate.pace(state, NOON + timedelta(hours=2)).cost_an_hour == 0


def test_spool_counts_to_when_it_was_spent() -> None:
    late = BeatSeen(NOON, "ok", cost=DOLLAR, spent_at=NOON - timedelta(minutes=90))
    assert burn_rate.pace(burn_rate.read(spending(100_000, minutes=120), [late]), NOON).cost == 1_200_000


def test_new_spender_is_measured_since_it_began() -> None:
    assert burn_rate.pace(spending(100_000, minutes=20), NOON).cost_an_hour == pytest.approx(1_200_000)


def test_nights_do_not_make_a_day_look_fast() -> None:
    days = [
        BeatSeen(NOON - timedelta(days=day, hours=hour), "ok", cost=500_000) for day in (3, 2, 1) for hour in (0, 5)
    ]
    assert burn_rate.pace(burn_rate.read({}, days), NOON).usual == 500_000
    assert burn_rate.pace(burn_rate.read({}, days[2:]), NOON).usual is None


def test_state_stays_small() -> None:
    state: dict[str, Any] = {}
    for minute in range(0, 40 * 1440, 4):
        beat = BeatSeen(NOON + timedelta(minutes=minute), "ok", cost=987_654_321, tokens=123_456_789)
        state = burn_rate.read(state, [beat])
    assert len(json.dumps(state)) < 1_500
