"""Spend is counted exactly once by day, month, run and in total, whatever the order and the clocks."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.domain import pricing
from agents.domain.clocks import Settings
from agents.domain.heartbeat import Beat, Usage
from agents.domain.hot_row import AgentLimits, Hot, IngestTime
from agents.domain.wire import sender_clock
from agents.domain.wire.decoding import decode
from agents.ingest import committer
from agents.ingest.fold import fold
from agents.ingest.write import Received
from agents.models import AgentState, Heartbeat, Rollup
from agents.storage import retention, rollups
from agents.storage.columns import HOT_COLUMNS
from teams import auth, prices
from teams.models import Project
from tests.agents.conftest import T0, World
from tests.examples import examples

USE = {"model": "gpt-4o", "provider": "openai", "input_tokens": 10_000, "output_tokens": 1_000}
PRICE = 35_000
HOUSE = {"model": "house", "input_tokens": 12_000, "output_tokens": 300}


def at(seconds: float) -> str:
    return (T0 + timedelta(seconds=seconds)).isoformat()


def sums(world: World, span: str = "h") -> dict[int, int]:
    rows = Rollup.objects.filter(agent=world.agent(), span=span).order_by("start")
    return {int((row.start - T0).total_seconds()): row.cost for row in rows}


def test_priced_reported_and_unpriced_are_separate(world: World) -> None:
    world.beat(0, usage=[USE, HOUSE], cost_usd=0.5)
    state, beat = world.state(), Heartbeat.objects.get()
    assert (state.cost_today, state.priced_today, state.unpriced) == (535_000, PRICE, {"house": 12_300})
    assert (state.cost_month, state.priced_month, state.unpriced_month) == (535_000, PRICE, 12_300)
    assert (state.cost_total, state.priced_total, state.unpriced_total) == (535_000, PRICE, 12_300)
    assert (beat.cost, beat.priced, beat.unpriced, beat.tokens) == (535_000, PRICE, 12_300, 23_300)
    assert beat.content["prices"] == [PRICE, None]


def test_custom_prices_apply(world: World) -> None:
    world.caller = replace(world.caller, prices=prices.overrides([{"model": "house", "input": 1, "output": 10}]))
    world.beat(0, usage=[HOUSE])
    assert (world.state().priced_today, world.state().unpriced) == (15_000, None)


def test_api_key_carries_custom_prices(project: Project, api_key: str) -> None:
    project.prices = [{"model": "house", "input": 1, "output": 10}]
    project.save()
    auth._cache.clear()
    assert [one.model for one in auth.authenticate_key(api_key).prices] == ["house"]


def test_usage_is_stored_without_detail(world: World) -> None:
    body = json.dumps({"agent": "bot", "message": "secret", "usage": [USE]}).encode()
    committer.submit([Received(world.caller, decode(body), timezone.now(), "1/x", detail=False)])
    content = Heartbeat.objects.get().content
    assert (content["usage"][0]["model"], content["prices"], "message" in content) == ("gpt-4o", [PRICE], False)


def test_spool_counts_to_when_it_was_spent(world: World) -> None:
    """T0 is noon: sent one hour and fourteen hours after it was spent."""
    world.beat(0, cost_usd=1)
    rollups.roll_up(T0 + timedelta(seconds=30))
    world.beat(7200, cost_usd=2, sent_at=at(3600))
    world.beat(7201, cost_usd=4, sent_at=at(-14 * 3600))
    rollups.roll_up(T0 + timedelta(seconds=7260))
    assert sums(world) == {-14 * 3600: 4_000_000, 0: 1_000_000, 3600: 2_000_000}
    assert sums(world, "d") == {-36 * 3600: 4_000_000, -12 * 3600: 3_000_000}
    assert (world.state().cost_today, world.state().cost_month) == (3_000_000, 7_000_000)


def test_late_heartbeat_adds_to_a_closed_minute(world: World) -> None:
    for second in range(0, 600, 60):
        world.beat(second, cost_usd=1, sent_at=at(second))
    rollups.roll_up(T0 + timedelta(hours=3))
    rollups.roll_up(T0 + timedelta(hours=4))
    world.beat(4 * 3600, cost_usd=1, sent_at=at(65))
    rollups.roll_up(T0 + timedelta(hours=4, seconds=60))
    rollups.roll_up(T0 + timedelta(hours=4, seconds=120))
    assert (sums(world, "m")[60], sums(world)[0], sums(world, "d")[-12 * 3600]) == (2_000_000, 11_000_000, 11_000_000)


def test_days_late_heartbeat_keeps_old_hours(world: World) -> None:
    world.beat(0, cost_usd=1)
    rollups.roll_up(T0 + timedelta(minutes=1))
    later = 5 * 86_400
    rollups.roll_up(T0 + timedelta(seconds=later))
    retention.forget_old(T0 + timedelta(seconds=later))
    world.beat(later, cost_usd=2, sent_at=at(60))
    rollups.roll_up(T0 + timedelta(seconds=later + 60))
    assert sums(world)[0] == sums(world, "d")[-12 * 3600] == 3_000_000


def test_deadlines_use_the_servers_clock(world: World) -> None:
    world.beat(0)
    world.beat(3600, sent_at=at(0), cost_usd=1)
    assert world.state().last_beat_at == T0 + timedelta(hours=1)


def test_copy_days_later_counts_once(world: World) -> None:
    first: dict[str, Any] = {"beat_id": "b-1", "sent_at": at(0), "cost_usd": 1}
    world.beat(0, **first)
    world.beat(4 * 86_400, **first)
    assert (world.state().cost_total, Heartbeat.objects.count()) == (1_000_000, 1)


def test_yesterdays_spool_is_not_todays(world: World) -> None:
    world.beat(0, cost_usd=1)
    world.beat(86_400, cost_usd=2, sent_at=at(10))
    state = world.state()
    assert (state.cost_today, state.cost_month, state.cost_total) == (0, 3_000_000, 3_000_000)


def test_day_is_in_the_projects_time_zone(world: World) -> None:
    world.caller = replace(world.caller, time_zone="Asia/Tokyo")  # T0 is 21:00 there
    world.beat(0, cost_usd=1)
    world.beat(3 * 3600 + 1, cost_usd=2, sent_at=at(3 * 3600 - 1))
    world.beat(3 * 3600 + 2, cost_usd=4, sent_at=at(3 * 3600))
    assert (world.state().cost_today, world.state().day) == (4_000_000, date(2026, 5, 5))


def test_run_begins_with_the_client(world: World) -> None:
    world.beat(0, instance="a", seq=1, cost_usd=1)
    world.beat(1, instance="a", seq=2, cost_usd=2)
    assert world.state().run_cost == 3_000_000
    world.beat(10, instance="b", seq=1, cost_usd=4, sent_at=at(10))
    world.beat(11, instance="a", seq=3, cost_usd=8, sent_at=at(5))
    world.beat(12, instance="b", seq=2, cost_usd=16, sent_at=at(12))
    assert (world.state().run_cost, world.state().cost_today) == (20_000_000, 31_000_000)


# No sequence of heartbeats, clocks and restarts loses a cent or makes a sum negative.


def fresh() -> Hot:
    row: dict[str, Any] = {name: getattr(AgentState(agent_id=1), name) for name in HOT_COLUMNS}
    return Hot(**row)


USES = st.builds(
    Usage,
    model=st.sampled_from(["gpt-4o", "gpt-4o-mini", "house", ""]),
    provider=st.sampled_from(["openai", None, "nobody"]),
    input_tokens=st.integers(0, 10**9),
    output_tokens=st.integers(0, 10**9),
    cache_read_tokens=st.integers(0, 10**9),
    cache_write_tokens=st.integers(0, 10**6),
    cost_usd=st.none() | st.floats(0, 1_000),
)
BEATS = st.builds(
    Beat,
    agent=st.just("bot"),
    usage=st.none() | st.lists(USES, max_size=3),
    cost_usd=st.none() | st.floats(0, 1_000),
    tokens_used=st.none() | st.integers(0, 10**9),
    instance=st.sampled_from([None, "a", "b"]),
    seq=st.none() | st.integers(0, 3),
    status=st.sampled_from(["ok", "error", "shutdown"]),
    sent_at=st.none() | st.integers(-14 * 86_400, 14 * 86_400).map(lambda seconds: T0 + timedelta(seconds=seconds)),
    body_hash=st.integers(0, 2),
)
# Seconds by which the server's clock moves between heartbeats, forward or back, and seconds until storage.
STEPS = st.lists(st.tuples(BEATS, st.integers(-100_000, 400_000), st.sampled_from([0, 1, 5])), max_size=15)
ZONES = st.sampled_from(["UTC", "Asia/Kolkata", "America/New_York", "Pacific/Kiritimati"])


@pytest.mark.slow
@given(STEPS, ZONES)
@settings(max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_sequence_of_heartbeats_loses_a_cent(steps: Any, zone_name: str) -> None:
    hot, zone, now = fresh(), ZoneInfo(zone_name), T0
    none_set = AgentLimits(clocks=Settings(), daily_budget=None, run_budget=None, daily_tokens=None, paused=False)
    kept: list[pricing.Spent] = []
    for beat, step, waited in steps:
        now += timedelta(seconds=step)
        stored = now + timedelta(seconds=waited)
        moment = IngestTime(received_at=now, stored_at=stored, today=stored.astimezone(zone).date())
        when = sender_clock.made_at(beat, now)
        spent = pricing.spent(beat, when, when.astimezone(zone).date())
        kept.append(fold(hot, beat, spent, none_set, moment, "1/x").spent)
        assert 0 <= hot.priced_today <= hot.cost_today <= hot.cost_total
        assert 0 <= hot.priced_month <= hot.cost_month <= hot.cost_total
    assert hot.cost_total == sum(one.cost for one in kept)
    assert hot.priced_total == sum(one.priced for one in kept)
    assert hot.unpriced_total == sum(one.unpriced_tokens for one in kept)
    assert hot.tokens_total == sum(one.tokens for one in kept)
    assert all(one.cost >= one.priced >= 0 for one in kept)
    assert 0 <= hot.run_cost <= hot.cost_total


@pytest.mark.slow
@given(STEPS, ZONES)
@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_daily_sum_is_independent_of_order(steps: Any, zone_name: str) -> None:
    zone, end = ZoneInfo(zone_name), T0 + timedelta(days=3)
    none_set = AgentLimits(clocks=Settings(), daily_budget=None, run_budget=None, daily_tokens=None, paused=False)
    results = []
    for order in (steps, steps[::-1]):
        hot = fresh()
        for beat, _, _ in order:
            beat.beat_id = "its own"
            when = sender_clock.made_at(beat, end)
            spent = pricing.spent(beat, when, when.astimezone(zone).date())
            moment = IngestTime(received_at=end, stored_at=end, today=end.astimezone(zone).date())
            fold(hot, beat, spent, none_set, moment, "1/x")
        results.append((hot.tokens_today, hot.cost_today, hot.cost_month, hot.unpriced_month, hot.cost_total))
    assert results[0] == results[1]
