"""Replicas under one name do not look like restarts of each other."""

from __future__ import annotations

from typing import Any

import pytest

from agents.models import Agent
from tests.agents.conftest import World

pytestmark = pytest.mark.django_db
A, B = "hostA-1-aaa", "hostB-2-bbb"


@pytest.fixture
def world_with_budget(world: World) -> World:
    """Each run may cost a dollar."""
    said(world, 0, A, 1)
    Agent.objects.update(run_budget_usd=1)
    return world


def said(world: World, at: float, instance: str, seq: int, **fields: Any) -> Any:
    return world.beat(at, instance=instance, seq=seq, interval=10, **fields)


def test_replicas_keep_their_own_runs(world_with_budget: World) -> None:
    world = world_with_budget
    for n in range(4):
        said(world, 10 * n + 1, A, n + 2, cost_usd=0.2, iteration_count=100 + n)
        said(world, 10 * n + 2, B, n + 1, cost_usd=0.1, iteration_count=n)
    assert world.state().run_cost == 400_000
    said(world, 50, A, 9)
    assert world.state().run_cost == 800_000


def test_exceeded_run_holds_whoever_reports(world_with_budget: World) -> None:
    world = world_with_budget
    said(world, 1, B, 1)
    assert said(world, 2, A, 2, cost_usd=1.5).hold
    assert said(world, 3, B, 2).hold
    for second in (4, 5):
        world.look(second)
        assert world.kinds() == ["cost"]
        said(world, second + 0.5, B if second == 4 else A, 9)


def test_restart_begins_a_new_run(world_with_budget: World) -> None:
    world = world_with_budget
    assert said(world, 1, A, 2, cost_usd=1.5).hold
    world.look(2)
    assert not said(world, 3, B, 1).hold or world.state().run_cost == 0
    world.look(4)
    assert world.kinds() == []


def test_ended_replica_holds_nobody(world_with_budget: World) -> None:
    world = world_with_budget
    said(world, 1, B, 1)
    said(world, 2, A, 2, cost_usd=1.5)
    for n in range(40):
        said(world, 10 * n + 3, B, n + 2)
    world.look(400)
    assert world.kinds() == []


def test_replica_is_warned_once(world_with_budget: World) -> None:
    world = world_with_budget
    said(world, 1, B, 1)
    said(world, 2, A, 2, cost_usd=1.5)
    world.look(3)
    told = [said(world, 4 + n, A if n % 2 else B, 3 + n).warning for n in range(8)]
    assert told == ["cost_exceeded", "cost_exceeded", *[None] * 6]


def test_goodbye_of_one_is_no_start_of_the_other(world_with_budget: World) -> None:
    world = world_with_budget
    said(world, 1, B, 1, cost_usd=0.5)
    said(world, 2, A, 2, status="shutdown")
    said(world, 3, B, 2)
    assert world.state().run_cost == 500_000
    world.look(4)
    assert world.agent().state.status == "ok"
