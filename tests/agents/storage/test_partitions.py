"""Heartbeats by day on PostgreSQL: partitions made ahead, and dropped."""

from __future__ import annotations

import threading
from datetime import date, timedelta

import pytest
from django.db import connection, transaction

from agents.models import Heartbeat
from agents.storage import partitions
from tests.agents.conftest import T0, World, in_threads

pytestmark = pytest.mark.postgres


def named(prefix: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relname LIKE %s AND relkind = 'r' ORDER BY 1", [f"{prefix}%"]
        )
        return [name for (name,) in cursor.fetchall()]


def test_each_day_has_a_partition(world: World) -> None:
    partitions.make(T0.date())
    world.beat(0)
    with connection.cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text FROM agents_heartbeat")
        assert cursor.fetchall() == [("agents_heartbeat_2026_05_04",)]


def test_a_week_is_made_ahead(world: World) -> None:
    partitions.make(date(2025, 1, 29))
    assert named("agents_heartbeat_2025") == [
        *(f"agents_heartbeat_2025_01_{day}" for day in (29, 30, 31)),
        *(f"agents_heartbeat_2025_02_0{day}" for day in (1, 2, 3, 4)),
    ]


def test_default_partition_keeps_its_days(world: World) -> None:
    world.beat(0)
    partitions.make(T0.date())
    world.beat(10)
    assert Heartbeat.objects.count() == 2


def test_old_partitions_are_dropped(world: World) -> None:
    partitions.make(date(2025, 1, 1))
    partitions.drop(date(2025, 1, 3))
    assert named("agents_heartbeat_2025")[0] == "agents_heartbeat_2025_01_03"


def test_a_busy_table_is_left_for_later(live_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for the lock would make all heartbeats wait behind it."""
    monkeypatch.setattr(partitions, "LOCK_TIMEOUT", "10ms")
    read, done = threading.Event(), threading.Event()

    def report(number: int) -> None:
        with transaction.atomic():
            list(Heartbeat.objects.all())
            read.set()
            assert done.wait(60)

    reader = threading.Thread(target=in_threads, args=(1, report))
    reader.start()
    assert read.wait(60)
    partitions.make(date(2025, 3, 1))
    assert named("agents_heartbeat_2025_03") == []
    done.set()
    reader.join(60)
    partitions.make(date(2025, 3, 1))
    assert len(named("agents_heartbeat_2025_03")) == partitions.DAYS_AHEAD
    partitions.drop(date(2025, 4, 1) + timedelta(days=1))
    assert named("agents_heartbeat_2025_03") == []
