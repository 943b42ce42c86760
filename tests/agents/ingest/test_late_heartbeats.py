"""Heartbeats that arrive long after they were made: kept on disk, or sent by another process."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from agents.domain.notes import OUTDATED
from agents.models import Heartbeat
from tests.agents.conftest import T0, World

pytestmark = pytest.mark.django_db


def late(world: World, at: float, age: float, **fields: Any) -> None:
    world.beat(at, sent_at=(T0 + timedelta(seconds=at - age)).isoformat(), age=age, **{"interval": 60, **fields})


def seconds(at: Any) -> float:
    return float((at - T0).total_seconds())


def test_old_heartbeat_shows_life_then_not_now(world: World) -> None:
    world.beat(0, interval=60)
    late(world, 1000, 900)
    assert seconds(world.state().last_beat_at) == 100
    world.look(1001)
    assert world.kinds() == ["missed_heartbeat"]


def test_late_goodbye_ends_the_false_alarm(world: World) -> None:
    world.beat(0, interval=60)
    world.look(200)
    assert world.kinds() == ["missed_heartbeat"]
    late(world, 300, 290, status="shutdown", tokens_used=7)
    world.look(301)
    assert world.kinds() == []
    assert (world.state().status, seconds(world.state().last_beat_at)) == ("stopped", 10)
    assert [incident.state for incident in world.incidents()] == ["resolved"]
    world.look(5000)
    assert len(world.incidents()) == 1


@pytest.mark.parametrize("status", ["shutdown", "error", "ok"])
def test_outdated_heartbeat_only_counts_its_spend(world: World, status: str) -> None:
    """Another process delivers what the agent said before it was started again."""
    world.beat(0, interval=60, instance="first", seq=1)
    world.beat(60, interval=60, instance="second", seq=1)
    message = {"message": "CRASH: ValueError"} if status == "error" else {}
    late(world, 70, 40, status=status, instance="first", seq=2, cost_usd=0.5, **message)
    world.look(71)
    state = world.state()
    assert (state.status, state.reported, state.crashed) == ("ok", "ok", False)
    assert (state.cost_today, state.instance, seconds(state.last_beat_at)) == (500_000, "second", 60)
    assert world.incidents() == []
    newest = Heartbeat.objects.order_by("-id")[0]
    assert (newest.content or {})["note"] == OUTDATED


def test_network_delay_is_not_late(world: World) -> None:
    world.beat(0, interval=60)
    late(world, 60, 0.4)
    assert seconds(world.state().last_beat_at) == 60


def test_slow_clock_has_a_daily_budget(world: World) -> None:
    """A machine whose clock is 26 hours behind; only the age says when the money was spent."""
    for at in range(3):
        sent_at = T0 + timedelta(seconds=at) - timedelta(hours=26)
        answer = world.beat(at, sent_at=sent_at.isoformat(), age=0.1, cost_usd=6.0, cost_limit_usd=10)
    assert world.state().cost_today == 18_000_000
    assert answer.hold
