"""A hold by a person is answered at once and lasts until a person ends it."""

from __future__ import annotations

import pytest

from agents.fleet import holds
from agents.incidents import actions
from teams.models import AuditEntry
from tests.agents.conftest import World

pytestmark = pytest.mark.django_db
PERSON = "ann@example.com"


def hold(world: World, at: float, reason: str = "wrong branch") -> None:
    with world.clock(at) as now:
        holds.hold(agent=world.agent(), actor=PERSON, reason=reason, now=now)


def end_hold(world: World, at: float) -> None:
    with world.clock(at) as now:
        holds.end_hold(agent=world.agent(), actor=PERSON, now=now)


def test_next_answer_says_hold_and_why(world: World) -> None:
    world.beat(0)
    hold(world, 1)
    answer = world.beat(2)
    assert (answer.hold, answer.warning, answer.reason) == (True, None, f"{PERSON}: wrong branch")


def test_hold_outlasts_reviews_and_heartbeats(world: World) -> None:
    world.beat(0)
    hold(world, 1)
    for at in (2, 61, 122):
        world.look(at)
        assert world.beat(at).hold
    assert world.kinds() == []


def test_agent_goes_on_once_the_hold_is_ended(world: World) -> None:
    world.beat(0)
    hold(world, 1)
    end_hold(world, 2)
    assert not world.beat(3).hold
    world.look(4)
    assert not world.state().hold


def test_held_agent_owes_no_progress(world: World) -> None:
    world.beat(0, progress=True, progress_timeout=30)
    hold(world, 1)
    for at in range(20, 200, 20):
        world.beat(at, progress=False)
        world.look(at)
    end_hold(world, 200)
    world.look(201)
    assert world.kinds() == []
    world.beat(220, progress=False)
    world.look(231)
    assert world.kinds() == ["stalled"]


def test_ended_hold_leaves_that_of_a_budget(world: World) -> None:
    world.beat(0, cost_limit_usd=1, cost_usd=2)
    world.look(1)
    hold(world, 2)
    end_hold(world, 3)
    world.look(4)
    assert world.beat(5).hold
    (incident,) = world.incidents()
    with world.clock(6) as now:
        actions.resolve(incident=incident, actor=PERSON, now=now)
    world.look(6)
    assert not world.beat(7).hold
    texts = [event.text for event in incident.events.all()]
    assert f"Put on hold by {PERSON}: wrong branch" in texts
    assert f"Hold ended by {PERSON}" in texts


def test_resolving_does_not_end_a_persons_hold(world: World) -> None:
    world.beat(0, cost_limit_usd=1, cost_usd=2)
    world.look(1)
    hold(world, 2)
    with world.clock(3) as now:
        actions.resolve(incident=world.incidents()[0], actor=PERSON, now=now)
    world.look(3)
    assert world.beat(4).hold


def test_holds_are_audited_once_each(world: World) -> None:
    world.beat(0)
    end_hold(world, 1)
    hold(world, 2)
    end_hold(world, 3)
    end_hold(world, 4)
    entries = AuditEntry.objects.filter(action__startswith="agent.hold").order_by("id")
    assert [entry.action for entry in entries] == ["agent.hold_ended"]
    assert AuditEntry.objects.filter(action="agent.held", data__why="wrong branch").count() == 1


@pytest.mark.parametrize("reason", ["", "x" * 300, "突" * 300])
def test_any_reason_fits(world: World, reason: str) -> None:
    world.beat(0)
    hold(world, 1, reason)
    assert world.state().hold_reason.startswith(PERSON)
