"""Sums, partitions and retention."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from django.db import connection

from agents import rollups
from agents.models import Heartbeat, Rollup
from tests.agents.conftest import T0, World


def sums(span: str) -> list[tuple[int, int, int, int]]:
    rows = Rollup.objects.filter(span=span).order_by("start")
    return [(int((row.start - T0).total_seconds()), row.beats, row.tokens, row.cost) for row in rows]


def test_beats_are_summed_by_minute_hour_and_day(world: World) -> None:
    for at in (0, 30, 90, 4000):
        world.beat(at, tokens_used=10, cost_usd=0.5)
    rollups.roll_up(T0 + timedelta(seconds=4010))
    assert sums("m") == [(0, 2, 20, 1_000_000), (60, 1, 10, 500_000), (3960, 1, 10, 500_000)]
    assert sums("h") == [(0, 3, 30, 1_500_000), (3600, 1, 10, 500_000)]
    assert sums("d") == [(-43200, 4, 40, 2_000_000)]


def test_rolling_up_again_and_again_counts_each_beat_once(world: World) -> None:
    total = 0
    for at in range(0, 3000, 45):
        world.beat(at, tokens_used=1)
        total += 1
        if at % 60 < 45:
            rollups.roll_up(T0 + timedelta(seconds=at + 1))
    rollups.roll_up(T0 + timedelta(seconds=3001))
    assert sum(row[1] for row in sums("m")) == total
    assert sum(row[1] for row in sums("d")) == total


def test_after_an_hour_without_rolling_up_nothing_is_missing(world: World) -> None:
    world.beat(0, tokens_used=1)
    rollups.roll_up(T0 + timedelta(seconds=1))
    for at in (100, 2000, 3900):
        world.beat(at, tokens_used=1)
    rollups.roll_up(T0 + timedelta(seconds=4000))
    rollups.roll_up(T0 + timedelta(seconds=8000))
    assert sum(row[1] for row in sums("m")) == 4
    assert sum(row[1] for row in sums("h")) == 4


def test_a_heartbeat_left_over_from_a_deleted_agent_stops_no_sums(world: World) -> None:
    world.beat(0, tokens_used=1)
    gone = world.agent().pk + 1000
    Heartbeat.objects.create(agent_id=gone, day=T0.date(), received_at=T0, status="ok")
    rollups.roll_up(T0 + timedelta(seconds=10))
    connection.check_constraints()
    assert sums("m") == [(0, 1, 1, 0)]


def test_what_the_plan_does_not_keep_is_forgotten(world: World) -> None:
    world.beat(0)
    world.beat(6 * 86_400)
    rollups.forget_old(T0 + timedelta(days=8))
    assert [beat.day for beat in Heartbeat.objects.all()] == [T0.date() + timedelta(days=6)]


@pytest.mark.postgres
def test_days_have_partitions_of_their_own(world: World) -> None:
    rollups.make_partitions(T0.date())
    world.beat(0)
    with connection.cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text FROM agents_heartbeat")
        assert cursor.fetchall() == [("agents_heartbeat_2026_05_04",)]


@pytest.mark.postgres
def test_a_beat_of_a_day_without_partition_is_kept_and_its_day_stays_where_it_is(world: World) -> None:
    world.beat(0)
    rollups.make_partitions(T0.date())
    world.beat(10)
    assert Heartbeat.objects.count() == 2


@pytest.mark.postgres
def test_old_days_are_dropped_whole(world: World) -> None:
    rollups.make_partitions(date(2025, 1, 1))
    rollups.drop_partitions(date(2025, 1, 3))
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relname LIKE 'agents_heartbeat_2025%' ORDER BY 1")
        assert cursor.fetchone() == ("agents_heartbeat_2025_01_03",)
