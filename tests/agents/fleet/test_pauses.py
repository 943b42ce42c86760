"""A pause ends when the person who made it said."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from agents.fleet import maintenance, pauses, services
from agents.incidents import actions
from agents.models import Agent, Incident
from teams.errors import ApiError
from teams.models import AuditEntry
from tests.agents.conftest import T0, World

pytestmark = pytest.mark.django_db
PERSON = "ann@example.com"
HOUR = 3_600.0


def pause(world: World, at: float, until: float | None) -> None:
    with world.clock(at) as now:
        ends = None if until is None else T0 + timedelta(seconds=until)
        services.pause(agent=world.agent(), actor=PERSON, now=now, until=ends)


def end_due(world: World, at: float) -> None:
    with world.clock(at) as now:
        pauses.end_due(now)
    world.look(at)


def start_maintenance(world: World, now: datetime) -> None:
    ends = now + timedelta(hours=1)
    maintenance.schedule(
        project=world.project, reason="disks", labels={}, actor=PERSON, now=now, starts_at=now, ends_at=ends
    )
    maintenance.apply_schedule(now)


def test_pause_ends_by_its_time_with_fresh_deadlines(world: World) -> None:
    world.beat(0, interval=30)
    pause(world, 10, HOUR)
    end_due(world, HOUR - 1)
    assert world.agent().paused_at is not None
    end_due(world, HOUR)
    agent = world.agent()
    assert (agent.paused_at, agent.paused_until, agent.paused_by) == (None, None, "")
    assert world.kinds() == [], "nothing was due while it was paused"
    assert AuditEntry.objects.get(action="agent.resumed").actor == "watchdog"
    world.look(HOUR + 61)
    assert world.kinds() == ["missed_heartbeat"]


def test_pause_without_a_time_lasts(world: World) -> None:
    world.beat(0, interval=30)
    pause(world, 10, None)
    end_due(world, 30 * 86_400)
    assert world.agent().paused_at is not None


def test_pause_cannot_end_in_the_past(world: World) -> None:
    world.beat(0)
    with pytest.raises(ApiError, match="in the future"):
        pause(world, 10, 5)
    assert world.agent().paused_at is None


def test_pause_that_ends_in_maintenance_goes_on(world: World) -> None:
    world.beat(0)
    pause(world, 1, 100)
    with world.clock(2) as now:
        start_maintenance(world, now)
    end_due(world, 100)
    agent = world.agent()
    assert agent.paused_at is not None
    assert agent.maintenance is not None


def test_plan_keeps_an_agent_paused_after_its_pause(world: World) -> None:
    world.beat(0)
    pause(world, 1, 100)
    over = T0 + timedelta(seconds=50)
    Agent.objects.update(over_plan_at=over)
    end_due(world, 100)
    agent = world.agent()
    assert (agent.paused_at, agent.paused_until) == (over, None)


@pytest.mark.parametrize("how", ["paused", "maintenance", "stopped", "recovered", "resolved"])
def test_only_a_recovery_is_called_one(world: World, how: str) -> None:
    world.beat(0, interval=2)
    world.look(8)
    end(world, how)
    world.look(11)
    incident = Incident.objects.get()
    assert incident.outcome == how
    assert ("recovered" in incident.ending) is (how == "recovered")
    assert (PERSON in incident.ending) is (how in ("paused", "resolved"))
    text = incident.events.get(kind="resolved").text
    assert ("ecovered" in text) is (how == "recovered")


def end(world: World, how: str) -> None:
    if how == "paused":
        pause(world, 10, HOUR)
    elif how in ("stopped", "recovered"):
        world.beat(10, status="shutdown" if how == "stopped" else "ok")
    with world.clock(10) as now:
        if how == "resolved":
            actions.resolve(incident=Incident.objects.get(), actor=PERSON, now=now)
        if how == "maintenance":
            start_maintenance(world, now)
