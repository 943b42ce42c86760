"""What is said of spend against its budgets, and when it will be used up."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from agents.domain.budgets import ALL_LIFTED, Month
from agents.rules import cost
from agents.rules.facts import BeatSeen, Facts, Finding
from agents.rules.observers import burn_rate

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
DOLLAR = 1_000_000


@dataclass
class Seen:
    """A hot row, as far as the rule reads it."""

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


def judged(seen: Seen, now: datetime = NOON, memory: Any = None, **given: Any) -> Finding | None:
    given = {"budget": None, "today": now.date(), **given}
    facts = Facts(now, seen, None, None, 60, paused=False, memory=memory or {}, **given)  # type: ignore[arg-type]
    return cost.check(facts)


def found(seen: Seen, *args: Any, **given: Any) -> Finding:
    result = judged(seen, *args, **given)
    assert result is not None
    return result


def spending(each: int, minutes: int = 60, every: int = 5, tokens: int = 0) -> dict[str, Any]:
    """What is remembered of an agent that spent so much every few minutes until noon."""
    times = [NOON - timedelta(minutes=before) for before in range(minutes, 0, -every)]
    return burn_rate.read({}, [BeatSeen(at, "ok", cost=each, tokens=tokens) for at in times])


def test_a_budget_is_told_from_80_percent_on_and_exceeded_at_100() -> None:
    limit = 50 * DOLLAR
    told = {spent: judged(Seen(cost_today=spent), budget=limit) for spent in (limit * 4 // 5 - 1, limit * 4 // 5)}
    assert [bool(one) for one in told.values()] == [False, True]
    severity = {spent: found(Seen(cost_today=spent), budget=limit).severity for spent in (limit - 1, limit)}
    assert list(severity.values()) == ["warning", "critical"]


def test_nothing_exceeds_nothing() -> None:
    assert judged(Seen(), budget=0) is None
    assert found(Seen(cost_today=1), budget=0).reason == "Spent $0.000001 of $0.00 today"


def test_it_says_when_the_budget_will_be_used_up() -> None:
    """A tenth of a dollar every five minutes, for two hours: $1.20 an hour, and $5.60 are left."""
    seen = Seen(cost_today=44_400_000)
    one = found(seen, memory=spending(100_000, minutes=120), budget=50 * DOLLAR)
    assert one.reason == "Spent $44.40 of $50.00 today; at the pace of the last hour the budget is used up at 16:40"
    assert one.evidence["reached_at"] == datetime(2026, 5, 4, 16, 40, tzinfo=UTC).isoformat()
    assert one.evidence["last_hour_usd"] == 1.2


def test_times_are_those_of_the_projects_zone() -> None:
    seen, zone = Seen(cost_today=44_400_000), ZoneInfo("Asia/Kolkata")
    memory = spending(100_000, minutes=120)
    assert found(seen, memory=memory, budget=50 * DOLLAR, zone=zone).reason.endswith("used up at 22:10")


def test_a_budget_that_lasts_until_midnight_has_no_forecast() -> None:
    one = found(Seen(cost_today=41 * DOLLAR), memory=spending(10_000, minutes=120), budget=50 * DOLLAR)
    assert (one.reason, one.evidence["reached_at"]) == (
        "Spent $41.00 of $50.00 today, $0.12 of it in the last hour",
        None,
    )


def test_ten_minutes_make_a_pace_and_less_do_not() -> None:
    seen = Seen(cost_today=41 * DOLLAR)
    assert found(seen, memory=spending(DOLLAR, 5, 1), budget=50 * DOLLAR).evidence["reached_at"] is None
    assert found(seen, memory=spending(DOLLAR, 10, 1), budget=50 * DOLLAR).evidence["reached_at"] is not None


def test_what_is_faster_than_usual_is_said_to_be() -> None:
    days = [
        BeatSeen(NOON - timedelta(days=day, hours=hour), "ok", cost=300_000) for day in (4, 3, 2, 1) for hour in (0, 1)
    ]
    memory = burn_rate.read(
        burn_rate.read({}, days),
        [BeatSeen(NOON - timedelta(minutes=at), "ok", cost=100_000) for at in range(120, 0, -5)],
    )
    one = found(Seen(cost_today=44_400_000), memory=memory, budget=50 * DOLLAR)
    assert one.evidence["usual_hour_usd"] == 0.3
    assert "at the pace of the last hour, 4 times its usual pace, the budget is used up at 16:40" in one.reason


def test_exceeded_it_says_how_much_of_it_was_spent_just_now() -> None:
    one = found(Seen(cost_today=51 * DOLLAR), memory=spending(250_000), budget=50 * DOLLAR)
    assert one.reason == "Spent $51.00 of $50.00 today, $3.00 of it in the last hour"


def test_priced_reported_and_unpriced_are_apart_and_unknown_is_not_nothing() -> None:
    seen = Seen(cost_today=9 * DOLLAR, priced_today=7 * DOLLAR, unpriced={"house": 12_000, "other": 300})
    one = found(seen, budget=10 * DOLLAR)
    assert one.reason == "Spent $9.00 of $10.00 today; 12,300 tokens (house, other) have no known price and come on top"
    shown = {name: one.evidence[name] for name in ("spent_usd", "priced_usd", "reported_usd", "unpriced_tokens")}
    assert shown == {"spent_usd": 9.0, "priced_usd": 7.0, "reported_usd": 2.0, "unpriced_tokens": 12_300}


def test_yesterdays_spend_is_not_todays() -> None:
    yesterday = Seen(day=NOON.date() - timedelta(days=1), cost_today=99 * DOLLAR, tokens_today=10**9)
    assert judged(yesterday, budget=10 * DOLLAR, token_limit=10) is None


def test_tokens_have_a_limit_of_their_own() -> None:
    one = found(Seen(tokens_today=900_000), memory=spending(0, tokens=5_000, minutes=120), token_limit=1_000_000)
    assert one.reason.startswith("Used 900,000 of 1,000,000 tokens today; at the pace of the last hour")
    assert (one.evidence["token_limit"], one.evidence["reached_at"]) == (1_000_000, "2026-05-04T13:40:00+00:00")


def test_a_run_is_said_with_its_start() -> None:
    one = found(Seen(run_cost=3 * DOLLAR, run_priced=2 * DOLLAR, run_unpriced=40), run_budget=2 * DOLLAR)
    assert one.reason == "Spent $3.00 of $2.00 in this run (since 10:00); 40 tokens have no known price and come on top"
    assert (one.evidence["reported_usd"], one.evidence["ends_at"]) == (1.0, None)


def month(spent: int, **fields: Any) -> Month:
    return Month(date(2026, 5, 1), 100 * DOLLAR, spent * DOLLAR, **fields)


def test_a_month_is_all_agents_and_goes_by_the_month_so_far() -> None:
    """$84 in three and a half days: $16 are two thirds of a day."""
    one = found(Seen(cost_month=30 * DOLLAR), month=month(84))
    assert one.reason == (
        "The project has spent $84.00 of $100.00 this month, $30.00 of it by this agent; "
        "at the month’s pace the budget is used up at 5 May 04:00"
    )
    assert one.evidence["ends_at"] == "2026-06-01T00:00:00+00:00"


def test_nearing_a_months_budget_is_one_agents_to_say_and_exceeding_it_everyones() -> None:
    assert judged(Seen(), month=month(84, tells=False)) is None
    assert found(Seen(), month=month(100, tells=False)).severity == "critical"


def test_an_agent_that_never_reported_is_not_held() -> None:
    assert judged(Seen(last_beat_at=None), month=month(100)) is None


def test_the_worst_of_several_is_said_and_all_are_in_the_evidence() -> None:
    one = found(Seen(cost_today=9 * DOLLAR, run_cost=2 * DOLLAR), budget=10 * DOLLAR, run_budget=2 * DOLLAR)
    assert one.evidence["budget"] == "run"
    assert [(name, severity) for name, _, _, severity in one.evidence["budgets"]] == [
        ("run", "critical"),
        ("day", "warning"),
    ]


def test_what_a_person_let_pass_is_not_told_again_until_it_is_worse_or_another_day() -> None:
    near = found(Seen(cost_today=9 * DOLLAR), budget=10 * DOLLAR)
    memory = cost.dismissed({"steps": []}, near.evidence)
    assert judged(Seen(cost_today=9_500_000), memory=memory, budget=10 * DOLLAR) is None
    worse = found(Seen(cost_today=10 * DOLLAR), memory=memory, budget=10 * DOLLAR)
    memory = cost.dismissed(memory, worse.evidence)
    assert judged(Seen(cost_today=30 * DOLLAR), memory=memory, budget=10 * DOLLAR) is None
    assert judged(Seen(cost_today=30 * DOLLAR), memory=memory, budget=11 * DOLLAR) is not None
    tomorrow = NOON + timedelta(days=1)
    assert judged(Seen(day=tomorrow.date(), cost_today=30 * DOLLAR), tomorrow, memory, budget=10 * DOLLAR) is not None


def test_letting_one_budget_pass_lets_no_other_pass() -> None:
    memory = cost.dismissed({}, found(Seen(cost_today=10 * DOLLAR), budget=10 * DOLLAR).evidence)
    memory = cost.dismissed(memory, found(Seen(), month=month(100)).evidence)
    seen = Seen(cost_today=10 * DOLLAR, run_cost=DOLLAR)
    assert judged(seen, memory=memory, budget=10 * DOLLAR, month=month(100)) is None
    assert (
        found(seen, memory=memory, budget=10 * DOLLAR, month=month(100), run_budget=DOLLAR).evidence["budget"] == "run"
    )
    assert judged(seen, memory={"lifted": ALL_LIFTED}, budget=DOLLAR) is None


# The pace


def before_today(each: int = 300_000) -> dict[str, Any]:
    days = [BeatSeen(NOON - timedelta(days=day), "ok", cost=each) for day in (3, 2, 1)]
    return burn_rate.read({}, days)


def an_hour(memory: dict[str, Any], each: int) -> dict[str, Any]:
    beats = [BeatSeen(NOON - timedelta(minutes=at), "ok", cost=each) for at in range(60, 0, -5)]
    return burn_rate.read(memory, beats)


def test_a_pace_above_the_usual_is_a_warning_where_it_is_set() -> None:
    memory, seen = an_hour(before_today(), 100_000), Seen(cost_today=1_200_000, priced_today=1_000_000)
    assert judged(seen, memory=memory) is None
    one = found(seen, memory=memory, thresholds={"pace": 4})
    assert (one.severity, one.reason) == ("warning", "Spent $1.20 in the last hour, 4.0 times the usual $0.30 an hour")
    assert (one.evidence["priced_usd"], one.evidence["reported_usd"], one.evidence["unpriced_tokens"]) == (1.0, 0.2, 0)
    assert judged(seen, memory=memory, thresholds={"pace": 4.1}) is None
    assert judged(seen, NOON + timedelta(hours=2), memory, thresholds={"pace": 4}) is None


def test_cents_and_agents_without_a_history_are_never_too_fast() -> None:
    seen = Seen(cost_today=1_200_000)
    assert judged(seen, memory=an_hour(before_today(1_000), 8_000), thresholds={"pace": 2}) is None
    assert judged(seen, memory=an_hour({}, 100_000), thresholds={"pace": 2}) is None


def test_a_pace_that_a_person_let_pass_is_let_pass_for_the_day() -> None:
    memory, seen = an_hour(before_today(), 100_000), Seen(cost_today=1_200_000)
    memory = cost.dismissed(memory, found(seen, memory=memory, thresholds={"pace": 4}).evidence)
    assert judged(seen, memory=memory, thresholds={"pace": 4}) is None
    assert judged(seen, memory=memory, thresholds={"pace": 3}) is not None


def test_the_pace_is_that_of_the_last_hour() -> None:
    memory = spending(100_000, minutes=180)
    assert burn_rate.pace(memory, NOON).cost_an_hour == 1_200_000
    assert burn_rate.pace(memory, NOON + timedelta(hours=2)).cost_an_hour == 0


def test_a_spool_counts_to_when_it_was_spent() -> None:
    late = BeatSeen(NOON, "ok", cost=DOLLAR, spent_at=NOON - timedelta(minutes=90))
    assert burn_rate.pace(burn_rate.read(spending(100_000, minutes=120), [late]), NOON).cost == 1_200_000


def test_an_agent_that_just_began_is_judged_by_what_it_did_since() -> None:
    assert burn_rate.pace(spending(100_000, minutes=20), NOON).cost_an_hour == pytest.approx(1_200_000)


def test_nights_do_not_make_a_day_look_fast() -> None:
    days = [
        BeatSeen(NOON - timedelta(days=day, hours=hour), "ok", cost=500_000) for day in (3, 2, 1) for hour in (0, 5)
    ]
    assert burn_rate.pace(burn_rate.read({}, days), NOON).usual == 500_000
    assert burn_rate.pace(burn_rate.read({}, days[2:]), NOON).usual is None


def test_the_memory_stays_small() -> None:
    memory: dict[str, Any] = {}
    for minute in range(0, 40 * 1440, 4):
        beat = BeatSeen(NOON + timedelta(minutes=minute), "ok", cost=987_654_321, tokens=123_456_789)
        memory = burn_rate.read(memory, [beat])
    assert len(json.dumps(memory)) < 1_500
