"""Maintenance windows pause their agents, and only while they are open."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from agents.fleet import maintenance, services
from agents.ingest.registration import create_agent
from agents.models import Agent, AgentName, Maintenance
from teams.errors import ApiError
from teams.models import AuditEntry
from teams.services import create_project
from tests.agents.conftest import T0, World

HOUR = 3_600.0


WHY: dict[str, Any] = {"reason": "new disks", "actor": "owner@example.com"}


def times(start: float, end: float) -> dict[str, Any]:
    return {"starts_at": T0 + timedelta(seconds=start), "ends_at": T0 + timedelta(seconds=end)}


def plan(
    world: World, start: float, end: float, at: float = 0, agents: Sequence[str] = (), **labels: str
) -> Maintenance:
    with world.clock(at) as now:
        return maintenance.schedule(
            project=world.project, labels=labels, agents=agents, now=now, **WHY, **times(start, end)
        )


def paused(world: World) -> set[str]:
    return set(Agent.objects.filter(paused_at__isnull=False).values_list("name", flat=True))


def pass_by(world: World, at: float) -> None:
    """Sweep once at this moment."""
    with world.clock(at) as now:
        maintenance.apply_schedule(now)
    world.look(at)


@pytest.fixture
def watched(world: World) -> World:
    world.beat(0, interval=30)
    return world


def test_silence_in_a_window_opens_no_incident(watched: World) -> None:
    plan(watched, 10, HOUR)
    for at in (10.0, 600.0, HOUR - 1):
        pass_by(watched, at)
        assert watched.state().status == "paused"
    assert watched.incidents() == []


def test_monitoring_resumes_after_the_window(watched: World) -> None:
    plan(watched, 10, HOUR)
    pass_by(watched, 10)
    pass_by(watched, HOUR)
    assert watched.incidents() == []
    pass_by(watched, HOUR + 50)
    assert watched.incidents() == []
    pass_by(watched, HOUR + 61)
    assert watched.kinds() == ["missed_heartbeat"]


def test_heartbeats_in_a_window_are_stored(watched: World) -> None:
    plan(watched, 10, HOUR)
    pass_by(watched, 10)
    watched.beat(20, tokens_used=5)
    assert watched.state().tokens_total == 5


def test_a_window_selects_agents_by_labels(watched: World) -> None:
    watched.beat(0, "other")
    Agent.objects.filter(name="other").update(labels={"host": "worker-3", "env": "prod"})
    plan(watched, 10, HOUR, host="worker-3")
    pass_by(watched, 10)
    assert {name: watched.agent(name).paused_at is not None for name in ("bot", "other")} == {
        "bot": False,
        "other": True,
    }


def test_a_window_selects_agents_by_name_or_alias(watched: World) -> None:
    for name in ("other", "third"):
        watched.beat(0, name)
    AgentName.objects.create(project=watched.project, agent=watched.agent("third"), name="3rd")
    window = plan(watched, 10, HOUR, agents=["3rd", "third", "other"])
    assert window.agent_names == ["other", "third"]
    pass_by(watched, 10)
    assert paused(watched) == {"other", "third"}
    pass_by(watched, HOUR)
    assert paused(watched) == set()
    assert AuditEntry.objects.get(action="maintenance.planned").data["agents"] == ["other", "third"]


def test_a_window_of_deleted_agents_selects_nobody(watched: World) -> None:
    watched.beat(0, "other")
    plan(watched, 10, HOUR, agents=["other"])
    with watched.clock(5) as now:
        services.delete_agent(agent=watched.agent("other"), actor="owner@example.com", now=now)
    pass_by(watched, 10)
    assert paused(watched) == set()


def test_deleting_an_agent_does_not_break_its_window(watched: World) -> None:
    watched.beat(0, "other")
    plan(watched, 10, HOUR, agents=["other", "bot"])
    pass_by(watched, 10)
    with watched.clock(20) as now:
        services.delete_agent(agent=watched.agent("other"), actor="owner@example.com", now=now)
    pass_by(watched, HOUR)
    assert watched.agent().paused_at is None


def test_an_unknown_name_is_refused(watched: World) -> None:
    with pytest.raises(ApiError) as refused:
        plan(watched, 10, HOUR, agents=["bot", "bott"])
    assert refused.value.fields == {"agents": f"{watched.project} has no agent “bott”"}


def test_each_project_gets_its_own_window(watched: World) -> None:
    other = create_project(team=watched.project.team, name="Staging", actor="owner@example.com")
    watched.beat(0, "apart")
    chosen = [watched.agent(), create_agent(project=other, name="bot", now=T0)]
    with watched.clock(0) as now:
        maintenance.schedule_for(agents=chosen, now=now, **WHY, **times(10, HOUR))
        assert {one.project: one.agent_names for one in Maintenance.objects.all()} == {
            watched.project: ["bot"],
            other: ["bot"],
        }
        AgentName.objects.filter(project=other).delete()  # as one that is gone since
        with pytest.raises(ApiError):
            maintenance.schedule_for(agents=chosen, now=now, **WHY, **times(10, HOUR))
    assert Maintenance.objects.count() == 2
    pass_by(watched, 10)
    assert not watched.agent("apart").paused_at


def test_an_agent_paused_by_a_person_stays_paused(watched: World) -> None:
    with watched.clock(5) as now:
        services.pause(agent=watched.agent(), actor="owner@example.com", now=now)
    plan(watched, 10, 100)
    pass_by(watched, 10)
    pass_by(watched, 100)
    assert watched.agent().paused_at is not None


def test_an_agent_resumed_early_is_monitored(watched: World) -> None:
    plan(watched, 10, HOUR)
    pass_by(watched, 10)
    with watched.clock(20) as now:
        services.resume(agent=watched.agent(), actor="owner@example.com", now=now)
    pass_by(watched, 90)
    assert watched.kinds() == ["missed_heartbeat"]
    pass_by(watched, HOUR)
    assert watched.kinds() == ["missed_heartbeat"]


def test_a_window_can_be_ended_early(watched: World) -> None:
    window = plan(watched, 10, HOUR)
    pass_by(watched, 10)
    with watched.clock(60) as now:
        ended = maintenance.end(window=window, actor="owner@example.com", now=now)
    assert ended.ends_at == T0 + timedelta(seconds=60)
    assert watched.agent().paused_at is None
    said = AuditEntry.objects.filter(action__startswith="maintenance.").order_by("pk")
    assert list(said.values_list("action", flat=True)) == [
        f"maintenance.{what}" for what in ("planned", "began", "ended")
    ]


def test_a_cancelled_window_never_opens(watched: World) -> None:
    window = plan(watched, 100, HOUR)
    with watched.clock(50) as now:
        maintenance.end(window=window, actor="owner@example.com", now=now)
    pass_by(watched, 100)
    assert watched.agent().paused_at is None


def test_overlapping_windows_last_until_the_later_end(watched: World) -> None:
    plan(watched, 10, 1_000)
    plan(watched, 500, 2_000)
    for at, paused in ((10, True), (500, True), (1_000, True), (1_999, True), (2_000, False)):
        pass_by(watched, at)
        assert (watched.agent().paused_at is not None) is paused, at


def test_a_window_missed_in_an_outage_pauses_nobody(watched: World) -> None:
    plan(watched, 10, 100)
    pass_by(watched, 200)
    assert watched.agent().paused_at is None
    assert Maintenance.objects.get().closed_at is not None


@pytest.mark.parametrize(
    ("start", "end", "field"),
    [
        (100, 100, "ends_at"),
        (-200, -100, "ends_at"),
        (0, 31 * 86_400, "ends_at"),
        (400 * 86_400, 401 * 86_400, "starts_at"),
    ],
)
def test_invalid_windows_are_refused(world: World, start: float, end: float, field: str) -> None:
    with pytest.raises(ApiError) as refused:
        plan(world, start, end)
    assert (refused.value.http_status, list(refused.value.fields or {})) == (422, [field])


def test_an_idle_sweep_takes_one_query(watched: World, django_assert_max_num_queries: Any) -> None:
    plan(watched, 10, HOUR)
    pass_by(watched, 10)
    with watched.clock(20) as now, django_assert_max_num_queries(1):
        maintenance.apply_schedule(now)
