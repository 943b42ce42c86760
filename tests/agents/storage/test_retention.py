"""What is older than the team's plan keeps is deleted, in pieces, and nothing else."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from agents.models import Agent, Command, Heartbeat, Incident, IncidentEvent, Outage, Rollup, Signal
from agents.storage import retention
from alerts.models import Channel, Delivery
from billing.services import set_plan
from teams import audit_retention
from teams.models import AuditEntry, Team
from tests.agents.conftest import T0, World

KEPT = timedelta(days=7)  # by the free plan
OLD, RECENT = T0 - KEPT - timedelta(days=1), T0 - KEPT + timedelta(hours=1)


@pytest.fixture
def free(world: World) -> World:
    world.beat(0)
    set_plan(team=world.project.team, plan="free", actor="operator")
    Heartbeat.objects.all().delete()
    audit_retention.delete_some(AuditEntry.objects.all(), 100)
    return world


def make_incident(agent: Agent, at: datetime, *, is_open: bool = False) -> Incident:
    times: dict[str, Any] = {"started_at": at, "opened_at": at}
    end = None if is_open else at
    given: dict[str, Any] = {"kind": "stalled", "severity": "critical", "reason": "No progress", "agent": agent}
    incident = Incident.objects.create(project=agent.project, resolved_at=end, **times, **given)
    Signal.objects.create(incident=incident, cleared_at=end, **times, **given)
    event = IncidentEvent.objects.create(incident=incident, kind="opened", text="No progress", at=at)
    channel, _ = Channel.objects.get_or_create(project=agent.project, kind="email", name="mail")
    Delivery.objects.create(event=event, channel=channel, state="sent", message_id=f"m{incident.pk}", created_at=at)
    return incident


def make_history(agent: Agent, at: datetime) -> None:
    Heartbeat.objects.create(agent=agent, day=at.date(), received_at=at, status="ok")
    for span in ("h", "d"):
        Rollup.objects.create(agent=agent, span=span, start=at)
    AuditEntry.objects.create(team=agent.project.team, actor="ada@example.com", action="agent.changed", at=at)
    Command.objects.create(agent=agent, action="stop", type="docker", state="completed", expires_at=at, finished_at=at)
    make_incident(agent, at)


KINDS: tuple[Any, ...] = (Rollup, AuditEntry, Command, Incident, Signal, IncidentEvent, Delivery)


def counts() -> list[int]:
    return [kind.objects.count() for kind in KINDS]


def test_all_history_follows_the_plan(free: World) -> None:
    for at in (OLD, RECENT):
        make_history(free.agent(), at)
    assert retention.forget_old(T0)
    assert (counts(), Heartbeat.objects.count()) == ([2, 1, 1, 1, 1, 1, 1], 1)
    assert Incident.objects.get().opened_at == RECENT


def test_heartbeats_follow_the_plan_by_days(free: World) -> None:
    for days in (9, 8, 7, 6):
        at = T0 - timedelta(days=days)
        Heartbeat.objects.create(agent=free.agent(), day=at.date(), received_at=at, status="ok")
    assert retention.forget_old(T0)
    assert [(T0.date() - beat.day).days for beat in Heartbeat.objects.order_by("id")] == [7, 6]


def test_a_larger_plan_keeps_more(free: World) -> None:
    make_history(free.agent(), OLD)
    before = counts()
    set_plan(team=free.project.team, plan="starter", actor="operator")
    AuditEntry.objects.filter(at__gt=OLD).delete()
    assert retention.forget_old(T0)
    assert (counts(), Heartbeat.objects.count()) == (before, 1)


def test_teams_without_a_plan_are_on_the_default(free: World, settings: Any) -> None:
    make_history(free.agent(), OLD)
    Team.objects.get().subscription.delete()  # type: ignore[attr-defined, unused-ignore]
    settings.DEFAULT_PLAN = "starter"
    retention.forget_old(T0)
    assert Incident.objects.count() == 1
    settings.DEFAULT_PLAN = "free"
    retention.forget_old(T0)
    assert Incident.objects.count() == 0


def test_what_is_open_stays(free: World) -> None:
    make_incident(free.agent(), OLD, is_open=True)
    Command.objects.create(agent=free.agent(), action="stop", type="docker", expires_at=OLD)
    retention.forget_old(T0)
    assert [kind.objects.count() for kind in (Incident, Signal, IncidentEvent, Delivery, Command)] == [1] * 5


def test_minutes_are_kept_for_two_days(free: World) -> None:
    for hours in (49, 47):
        Rollup.objects.create(agent=free.agent(), span="m", start=T0 - timedelta(hours=hours))
    retention.forget_old(T0)
    assert Rollup.objects.get().start == T0 - timedelta(hours=47)


def test_own_outages_are_kept_as_long_as_any_plan(free: World) -> None:
    for days in (366, 364):
        at = T0 - timedelta(days=days)
        Outage.objects.create(part="edge", started_at=at, ended_at=at)
    retention.forget_old(T0)
    assert Outage.objects.get().ended_at == T0 - timedelta(days=364)


def test_pieces_are_small_and_add_up(free: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIECE", "FEW"):
        monkeypatch.setattr(retention, name, 2)
    for minutes in range(5):
        make_history(free.agent(), OLD - timedelta(minutes=minutes))
    assert retention.forget_old(T0)
    assert (counts(), Heartbeat.objects.count()) == ([0] * len(KINDS), 0)


def test_an_interrupted_run_is_continued(free: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIECE", "FEW"):
        monkeypatch.setattr(retention, name, 1)
    for minutes in range(2):
        make_history(free.agent(), OLD - timedelta(minutes=minutes))
    before = sum(counts())
    runs = 1
    while not retention.forget_old(T0, seconds=0):
        assert sum(counts()) < before or Heartbeat.objects.count() < 2
        runs += 1
    assert runs > 5
    assert (counts(), Heartbeat.objects.count()) == ([0] * len(KINDS), 0)
