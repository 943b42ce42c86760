"""What pages say of an agent: clocks, order and labels agree with its status."""

from __future__ import annotations

from typing import Any

import pytest

from agents.fleet import services
from agents.incidents import actions
from agents.models import Agent, Incident
from agents.reporting import agent_status
from agents.reporting.agent_status import AgentStatus
from tests.agents.conftest import World

pytestmark = pytest.mark.django_db
RUNNER: dict[str, Any] = {"restart_type": "systemd", "restart_target": "bot.service"}
NOT_RUNNING = {**RUNNER, "status": "error", "message": "bot.service is not responding: inactive (dead)"}
CRASH = {"status": "error", "message": "CRASH: KeyError: 'title'"}


def shown(world: World, at: float, name: str = "bot") -> AgentStatus:
    with world.clock(at) as now:
        rows = agent_status.with_related(Agent.objects.filter(name=name))
        return agent_status.statuses(rows, now)[0]


@pytest.mark.parametrize("last", [NOT_RUNNING, CRASH])
def test_dead_agent_has_no_green_clock(world: World, last: dict[str, Any]) -> None:
    world.beat(0, progress=True)
    world.beat(5, **last)
    world.look(6)
    row = shown(world, 7)
    assert (row.status, row.alive and (row.alive.text, row.alive.tone, row.alive.width)) == (
        "down",
        ("not running", "bad", 100),
    )
    assert row.progress is None, "nothing is due from a dead process"


def test_silent_agent_owes_no_progress(world: World) -> None:
    world.beat(0, interval=5, progress=True, progress_timeout=1800)
    world.look(20)
    row = shown(world, 21)
    assert (row.status, row.progress) == ("down", None)
    assert row.alive is not None
    assert row.alive.text == "16 s overdue"


def test_recovered_agent_has_its_clocks_back(world: World) -> None:
    world.beat(0, progress=True)
    world.beat(5, **NOT_RUNNING)
    world.look(6)
    world.beat(10, progress=True, instance="2")
    world.beat(11, **RUNNER)
    world.look(12)
    row = shown(world, 13)
    assert (row.status, row.alive and row.alive.tone, row.progress and row.progress.tone) == ("ok", "good", "good")


@pytest.mark.parametrize(
    ("last", "label"), [(NOT_RUNNING, "not running"), ({"status": "error", "message": "no quota"}, "error")]
)
def test_runners_report_is_told_from_an_error(world: World, last: dict[str, Any], label: str) -> None:
    world.beat(0)
    world.beat(5, **last)
    world.look(6)
    assert shown(world, 7).incident_label == label
    assert Incident.objects.get().kind_label == label


def test_near_budget_is_not_exceeded_by_a_crash(world: World) -> None:
    world.beat(0, cost_limit_usd=10, cost_usd=8.5)
    world.look(1)
    world.beat(5, **CRASH)
    world.look(6)
    assert shown(world, 7).incident_label == "budget warning"
    incident = Incident.objects.get()
    assert (incident.severity, incident.kind_label) == ("critical", "budget warning")


def test_headline_explains_the_status(world: World) -> None:
    world.beat(0, cost_limit_usd=10, cost_usd=8.5)
    world.look(1)
    world.beat(5, **CRASH)
    world.look(6)
    signals = agent_status.by_cause(world.agent().signals.all(), "down")
    assert [signal.kind for signal in signals] == ["crash", "cost"]


def ordered(world: World, at: float) -> list[str]:
    with world.clock(at) as now:
        return list(Agent.objects.order_by(*agent_status.worst_first(now)).values_list("name", flat=True))


def test_critical_agents_come_before_warnings(world: World) -> None:
    world.beat(0, "a-near", cost_limit_usd=10, cost_usd=8.5)
    world.beat(0, "b-error", status="error", message="no quota")
    world.beat(0, "z-over", cost_limit_usd=10, cost_usd=12)
    world.look(1)
    assert ordered(world, 2) == ["z-over", "a-near", "b-error"]


def test_what_is_over_does_not_sort_as_critical(world: World) -> None:
    """The crash made the incident critical for good; what is left of it is a budget's warning."""
    world.beat(0, "a-was-critical", cost_limit_usd=10, cost_usd=8.5)
    world.look(1)
    world.beat(5, "a-was-critical", **CRASH)
    world.look(6)
    world.beat(10, "a-was-critical")
    world.beat(10, "z-over", cost_limit_usd=10, cost_usd=12)
    world.look(11)
    assert ordered(world, 12) == ["z-over", "a-was-critical"]


def test_acknowledged_agents_come_after_others(world: World) -> None:
    for name in ("a", "b"):
        world.beat(0, name, **CRASH)
    world.look(1)
    with world.clock(2) as now:
        actions.acknowledge(incident=Incident.objects.get(agent__name="a"), actor="ann@example.com", now=now)
    assert ordered(world, 3) == ["b", "a"]


def test_longest_trouble_comes_first(world: World) -> None:
    for at, name in enumerate(("c", "a", "b")):
        world.beat(at, name, **CRASH)
        world.look(at + 0.5)
    assert ordered(world, 4) == ["c", "a", "b"]


def test_agent_on_hold_owes_no_progress(world: World) -> None:
    world.beat(0, progress=True, progress_timeout=5, interval=600, cost_limit_usd=10, cost_usd=12)
    world.look(1)
    world.look(60)
    row = shown(world, 61)
    assert (row.state.hold, row.status, row.progress) == (True, "warning", None)


def test_resumed_agent_is_late_nowhere(world: World) -> None:
    """Its deadline runs from the moment on which somebody resumed it: the list and the counts agree with the row."""
    world.beat(0, interval=30)
    with world.clock(5) as now:
        services.pause(agent=world.agent(), actor="ann@example.com", now=now)
    world.look(6)
    with world.clock(3_600) as now:
        services.resume(agent=world.agent(), actor="ann@example.com", now=now)
    world.look(3_601)
    for at, is_late in ((3_602, False), (3_635, True)):
        with world.clock(at) as now:
            assert Agent.objects.filter(agent_status.is_late(now)).exists() is is_late
        assert (shown(world, at).status == "late") is is_late


def test_nearly_spent_budget_is_no_full_one(world: World) -> None:
    world.beat(0, cost_limit_usd=10, cost_usd=9.96)
    row = shown(world, 1)
    assert (row.spent, row.spent_tone) == (99, "late")


@pytest.mark.trial
def test_one_curl_alarms_nobody_for_an_hour(world: World) -> None:
    world.beat(0, message="hello")
    world.look(3_590)
    row = shown(world, 3_591)
    assert (row.status, row.is_trial, world.kinds()) == ("ok", True, [])
    with world.clock(3_591) as now:
        late = Agent.objects.filter(agent_status.is_late(now))
        assert not late.exists(), "the list agrees with the row"
    world.look(3_601)
    assert world.kinds() == ["missed_heartbeat"]
