"""Healthy agents of which only the time is up are moved without a review, and nobody else."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest

from agents.fleet import services
from agents.models import Agent, AgentState, Unread
from agents.review import calm
from agents.storage import outage_log
from tests.agents.conftest import T0, World

MINUTE = 60


@pytest.fixture
def healthy(world: World, reviewed: list[str]) -> World:
    """An agent that reports every 30 s, reviewed at second 1; its time is up at second 60."""
    world.beat(0, interval=30)
    world.look(1)
    world.beat(30, interval=30)
    world.look(31)
    world.beat(55, interval=30)
    reviewed.clear()
    return world


def test_only_time_moves_it(healthy: World, reviewed: list[str]) -> None:
    healthy.look(61)
    assert reviewed == []
    assert healthy.state().check_at == T0 + timedelta(seconds=55 + MINUTE)
    assert healthy.state().status == "ok"


def test_a_deadline_that_passed_is_reviewed(healthy: World, reviewed: list[str]) -> None:
    healthy.look(61)
    healthy.look(114)
    assert (reviewed, healthy.incidents()) == ([], [])
    healthy.look(116)
    assert reviewed == ["bot"]
    assert healthy.kinds() == ["missed_heartbeat"]


def test_a_stall_is_found_among_moves(world: World, reviewed: list[str]) -> None:
    for at in range(0, 330, 30):
        world.beat(at, interval=30, progress=at == 0, progress_timeout=300)
        world.look(at + 1)
    assert world.kinds() == ["stalled"]
    assert len(reviewed) < 8


@pytest.mark.parametrize("changes", [{"daily_budget_usd": 1}, {"interval": 600}, {"rules": {"cost": {"off": True}}}])
def test_a_change_by_a_person_is_reviewed(healthy: World, reviewed: list[str], changes: dict[str, Any]) -> None:
    now = T0 + timedelta(seconds=59)
    services.change_agent(agent=healthy.agent(), changes=changes, actor="ada@example.com", now=now)
    healthy.look(61)
    assert reviewed == ["bot"]


@pytest.mark.parametrize(
    "fields", [{"tokens_used": 5}, {"progress": True}, {"memory_mb": 90}, {"message": "step"}, {"status": "warning"}]
)
def test_heartbeats_to_read_are_reviewed(healthy: World, reviewed: list[str], fields: dict[str, Any]) -> None:
    healthy.beat(60, interval=30, **fields)
    healthy.look(61)
    assert reviewed == ["bot"]


def test_unread_heartbeats_delay_no_silent_agent(healthy: World, reviewed: list[str]) -> None:
    """While reviews are behind, agents with something to read are not late for that: they keep their place."""
    healthy.beat(58, interval=30, message="step", tokens_used=5)
    now = T0 + timedelta(seconds=61)
    assert calm.move(list, now, until=math.inf, let_others_write=lambda: None) == 1
    assert (healthy.state().check_at, Unread.objects.count()) == (T0 + timedelta(seconds=58 + MINUTE), 1)
    healthy.look(61)
    assert reviewed == ["bot"]


def test_rules_are_asked_again_after_ten_minutes(healthy: World, reviewed: list[str]) -> None:
    """Settings of the project may have changed."""
    for at in range(61, 12 * MINUTE, 20):
        healthy.beat(at, interval=30)
        healthy.look(at)
    assert reviewed == ["bot"]


def test_a_watchdog_outage_moves_it(healthy: World, reviewed: list[str]) -> None:
    outage_log.tick(outage_log.EDGE, T0 + timedelta(seconds=56))
    outage_log.tick(outage_log.EDGE, T0 + timedelta(seconds=136))
    healthy.look(137)
    assert (reviewed, healthy.incidents()) == ([], [])
    assert healthy.state().check_at == T0 + timedelta(seconds=55 + MINUTE + 80)


def test_a_clock_set_back_is_reviewed(healthy: World, reviewed: list[str]) -> None:
    AgentState.objects.update(reviewed_at=T0 + timedelta(days=1))
    healthy.look(61)
    assert reviewed == ["bot"]


def test_an_impossible_deadline_stops_nobody(healthy: World, reviewed: list[str]) -> None:
    healthy.beat(0, agent="other", interval=30)
    healthy.look(1)
    healthy.beat(50, agent="other", interval=30)
    Agent.objects.filter(name="bot").update(interval=1e300)
    reviewed.clear()
    healthy.look(62)
    assert "other" not in reviewed
    assert healthy.state("other").check_at == T0 + timedelta(seconds=110)


def test_many_are_moved_in_pieces(world: World, reviewed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Silent ones among them are left where they are, and found."""
    monkeypatch.setattr(calm, "CHUNK", 2)
    names = [f"bot-{number}" for number in range(3)]
    for name in names:
        world.beat(0, agent=name, interval=30)
    world.look(1)
    for name in names[1:]:
        world.beat(50, agent=name, interval=30)
    reviewed.clear()
    world.look(62)
    assert reviewed == ["bot-0"]
    assert world.kinds("bot-0") == ["missed_heartbeat"]
    assert {world.state(name).check_at for name in names[1:]} == {T0 + timedelta(seconds=110)}
