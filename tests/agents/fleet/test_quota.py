"""After a downgrade the oldest agents stay monitored and the others are rejected."""

from __future__ import annotations

from typing import Any

import pytest

from agents.fleet import quota, services
from agents.models import Agent
from billing import refusals
from billing.models import Refusal
from billing.services import set_plan
from teams.errors import ApiError
from teams.models import AuditEntry, Project, Team
from tests.agents.conftest import World

NAMES = ["one", "two", "three", "four", "five"]


@pytest.fixture
def full(world: World) -> World:
    """Five agents of a team that was just downgraded to a plan for three."""
    set_plan(team=world.project.team, plan="starter", actor="test")
    for at, name in enumerate(NAMES):
        world.beat(at, name)
    plan(world, 10, "free")
    return world


def plan(world: World, at: float, key: str) -> None:
    with world.clock(at):
        set_plan(team=Team.objects.get(), plan=key, actor="test")
    world.look(at + 1)


def statuses(world: World) -> dict[str, str]:
    return {name: world.state(name).status for name in NAMES}


def refusal(world: World, at: float, name: str) -> Any:
    outcome = world.offer(at, name)
    return getattr(outcome, "code", None)


def test_the_oldest_agents_stay_within_the_limit(full: World) -> None:
    assert statuses(full) == {"one": "ok", "two": "ok", "three": "ok", "four": "paused", "five": "paused"}
    assert [refusal(full, 20, name) for name in NAMES] == [None, None, None, *["agent_limit_reached"] * 2]
    assert AuditEntry.objects.filter(action="agent.over_plan").count() == 2


def test_a_rejection_says_why_and_where_to_upgrade(full: World) -> None:
    message = full.offer(20, "five").message
    assert "The Free plan monitors 3 agents, the oldest first." in message
    assert message.endswith("/admin/billing/subscription/")


def test_agents_over_the_limit_open_no_incident(full: World) -> None:
    for at in range(20, 2_000, 50):
        for name in NAMES[:3]:
            full.beat(at, name)
        full.look(at)
    assert full.incidents() == []


def test_going_over_the_limit_closes_incidents(world: World) -> None:
    set_plan(team=world.project.team, plan="starter", actor="test")
    for at, name in enumerate(NAMES):
        world.beat(at, name)
    world.beat(6, "five", status="error", message="CRASH: no")
    world.look(7)
    assert len(world.incidents()) == 1
    plan(world, 10, "free")
    assert world.incidents()[0].resolved_at is not None


def test_an_upgrade_readmits_all_agents(full: World) -> None:
    plan(full, 30, "starter")
    assert [refusal(full, 40, name) for name in NAMES] == [None] * 5
    full.look(41)
    assert set(statuses(full).values()) == {"ok"}


def test_deleting_an_agent_readmits_the_next_oldest(full: World) -> None:
    with full.clock(20) as now:
        services.delete_agent(agent=full.agent("two"), actor="test", now=now)
    assert [refusal(full, 21, name) for name in ("four", "five")] == [None, "agent_limit_reached"]


def test_deleting_a_project_readmits_agents(full: World) -> None:
    with full.clock(20) as now:
        other = Project.objects.create(team=full.project.team, name="Other")
        Agent.objects.filter(name__in=["one", "two"]).update(project=other)
        other.delete()
        quota.settle_all(now)
    assert not Agent.objects.filter(over_plan_at__isnull=False).exists()


def test_an_agent_paused_by_a_person_stays_paused(world: World) -> None:
    set_plan(team=world.project.team, plan="starter", actor="test")
    for at, name in enumerate(NAMES):
        world.beat(at, name)
    with world.clock(6) as now:
        services.pause(agent=world.agent("five"), actor="test", now=now)
    plan(world, 10, "free")
    plan(world, 20, "starter")
    assert statuses(world)["five"] == "paused"
    assert world.agent("five").over_plan_at is None


def test_agents_over_the_limit_cannot_be_resumed(full: World) -> None:
    with full.clock(20) as now, pytest.raises(ApiError) as refused:
        services.resume(agent=full.agent("five"), actor="test", now=now)
    assert (refused.value.http_status, refused.value.code) == (403, "agent_limit_reached")
    assert statuses(full)["five"] == "paused"


def test_a_rejected_heartbeat_spares_its_batch(full: World) -> None:
    assert refusal(full, 20, "five") == "agent_limit_reached"
    assert refusal(full, 20, "one") is None


def test_rejections_are_recorded_at_intervals(full: World) -> None:
    for at in (20, 21, 22, 60):
        full.offer(at, "five")
        full.offer(at, "never seen")
    noted = {one.name: one.times for one in Refusal.objects.all()}
    assert noted == {"five": 2, "never seen": 2}


def test_rejected_names_are_bounded_and_expire(full: World) -> None:
    for number in range(105):
        full.offer(20, f"name-{number}")
    assert Refusal.objects.count() == 100
    with full.clock(31 * 86_400) as now:
        refusals.forget_old(now)
    assert not Refusal.objects.exists()
