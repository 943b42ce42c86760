"""Deleted teams, projects and agents disappear at once and are purged in pieces."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents.fleet import services as agent_services
from agents.incidents import actions
from agents.models import Agent, AgentMemory, AgentName, AgentState, Heartbeat, Incident, Rollup, Signal
from agents.storage import purge, rollups
from alerts.models import Channel
from billing.limits import usage_of
from teams import auth, services
from teams.access import teams_of
from teams.errors import ApiError
from teams.models import AuditEntry, Project, Team, User
from tests.agents.admin.conftest import make_agent, make_incident


@pytest.fixture
def filled(project: Project) -> Agent:
    """An agent with history, and a channel."""
    agent, now = make_agent(project), timezone.now()
    make_incident(agent)
    Heartbeat.objects.bulk_create(
        Heartbeat(agent=agent, day=(now - timedelta(days=n % 2)).date(), received_at=now, status="ok") for n in range(9)
    )
    Rollup.objects.create(agent=agent, span="d", start=now, beats=9)
    Channel.objects.create(project=project, kind="email", name="mail", config={"to": ["a@example.com"]})
    return agent


def test_deleted_project_disappears_at_once(
    filled: Agent, project: Project, team: Team, api_key: str, owner: User, operator: User, client_of: Any
) -> None:
    Project.objects.filter(pk=project.pk).update(status_page="named", status_address="our-agents")
    assert Client().get("/status/our-agents/").status_code == 200
    services.delete_project(project=project, actor=owner.email, now=timezone.now())
    with pytest.raises(ApiError):
        auth.authenticate_key(api_key)
    assert Client().get("/status/our-agents/").status_code == 404
    assert not Channel.objects.filter(enabled=True).exists()
    for person in (owner, operator):
        assert client_of(person).get(f"/admin/teams/project/{project.pk}/change/").status_code == 404
        assert client_of(person).get(f"/admin/agents/agent/{filled.pk}/change/").status_code == 404
        assert list(teams_of(person)) == [team]
    assert {share.what: share.used for share in usage_of([team.pk])[team.pk].shares}["agents"] == 0
    assert AuditEntry.objects.get(action="project.deleted").team == team
    again = services.create_project(team=team, name=project.name, actor=owner.email)
    assert list(team.projects.all()) == [again]


def test_deleted_team_has_no_members(filled: Agent, team: Team, owner: User, operator: User) -> None:
    services.delete_team(team=team, actor=owner.email, now=timezone.now())
    assert list(teams_of(owner)) == list(teams_of(operator)) == []
    assert not team.memberships.exists()


@pytest.fixture
def ended(filled: Agent, project: Project, owner: User) -> Agent:
    services.delete_project(project=project, actor=owner.email, now=timezone.now())
    return filled


def test_purge_deletes_only_what_was_deleted(ended: Agent, team: Team, stranger: User) -> None:
    other = make_agent(Project.objects.get(team__members=stranger), "other")
    assert purge.clear_away()
    for model in (Heartbeat, Rollup, Incident, Channel):
        assert not model._default_manager.exists(), model
    assert list(Agent.objects.all()) == [other]
    assert set(Team.objects.all()) == {team, *stranger.teams.all()}


def test_deleted_agent_is_purged_in_pieces(
    filled: Agent, team: Team, api_key: str, owner: User, operator: User, client_of: Any
) -> None:
    before = Heartbeat.objects.count()
    with CaptureQueriesContext(connection) as spent:
        agent_services.delete_agent(agent=filled, actor=owner.email, now=timezone.now())
    assert not [
        query["sql"] for query in spent if "agents_heartbeat" in query["sql"] or "agents_rollup" in query["sql"]
    ]
    for person in (owner, operator):
        assert client_of(person).get(f"/admin/agents/agent/{filled.pk}/change/").status_code == 404
        assert list(teams_of(person)) == [team]
    for model in (AgentName, AgentState, AgentMemory, Incident, Signal):
        assert not model._default_manager.exists(), model
    again = Client().post(
        "/api/v1/heartbeat", {"agent": filled.name}, "application/json", headers={"X-API-Key": api_key}
    )
    assert again.status_code == 200
    assert again.json()["agent_id"] != filled.pk
    assert Heartbeat.objects.count() == before + 1
    assert purge.clear_away()
    assert [beat.agent.name for beat in Heartbeat.objects.all()] == [filled.name]
    assert list(Agent.objects.all()) == list(Agent.objects.filter(pk=again.json()["agent_id"]))


def test_concurrent_delete_gets_a_message(filled: Agent, owner: User) -> None:
    seen_by_the_other = Agent.objects.get(pk=filled.pk)
    agent_services.delete_agent(agent=filled, actor=owner.email, now=timezone.now())
    with pytest.raises(ApiError) as refusal:
        agent_services.delete_agent(agent=seen_by_the_other, actor=owner.email, now=timezone.now())
    assert refusal.value.http_status == 404
    assert AuditEntry.objects.filter(action="agent.deleted").count() == 1


def test_purge_stops_in_time_and_continues(ended: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purge, "PIECE", 2)
    left = []
    while not purge.clear_away(seconds=0):
        left.append(Heartbeat.objects.count())
    # At most two of one day per piece: five are on one day, four on the other.
    assert left[:5] == [7, 5, 3, 1, 0]
    assert not Agent.objects.exists()


def test_rollups_and_incidents_are_purged_in_pieces(ended: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    now = timezone.now()
    Heartbeat.objects.all().delete()
    Rollup.objects.bulk_create(Rollup(agent=ended, span="m", start=now + timedelta(minutes=n)) for n in range(4))
    for _ in range(2):
        actions.resolve(incident=Incident.objects.open().get(), actor="test", now=now)
        make_incident(ended)
    monkeypatch.setattr(purge, "PIECE", 2)
    monkeypatch.setattr(purge, "FEW", 1)
    left = []
    while not purge.clear_away(seconds=0):
        left.append((Rollup.objects.count(), Incident.objects.count(), Agent.objects.count()))
    assert left == [(3, 3, 1), (1, 3, 1), (0, 3, 1), (0, 2, 1), (0, 1, 1), (0, 0, 1), (0, 0, 0)]


def test_deleted_data_is_not_rolled_up(project: Project, owner: User, stranger: User) -> None:
    """Rows deleted meanwhile would make the whole rollup fail."""
    now = timezone.now()
    other = make_agent(Project.objects.get(team__members=stranger), "other")
    for agent in (make_agent(project), other):
        Heartbeat.objects.create(agent=agent, day=now.date(), received_at=now, status="ok")
        Rollup.objects.create(agent=agent, span="m", start=now.replace(second=0, microsecond=0), beats=1)
    services.delete_project(project=project, actor=owner.email, now=now)
    rollups.roll_up(now)
    assert set(Rollup.objects.exclude(span="m").values_list("agent", flat=True)) == {other.pk}
    assert Rollup.objects.get(agent=other, span="h").beats == 1
