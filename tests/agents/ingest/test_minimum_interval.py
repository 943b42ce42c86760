"""A plan's shortest interval: shorter declared ones are raised, shorter configured ones are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agents.fleet import services
from agents.models import Agent
from billing import plans
from billing.services import set_plan
from teams.models import AuditEntry, Project, User
from tests.agents.admin.conftest import make_agent
from tests.agents.api.conftest import caller
from tests.agents.conftest import World


@pytest.fixture(autouse=True)
def slow_free_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plans.BY_KEY, "free", replace(plans.BY_KEY["free"], shortest_interval=20))


def test_shorter_declared_interval_is_raised(api_key: str) -> None:
    agent = caller(api_key)
    assert agent("POST", "heartbeat", {"agent": "quick", "interval": 1}).status_code == 200
    assert agent("POST", "heartbeat", {"agent": "slow", "interval": 90}).status_code == 200
    answer = agent("GET", "status").json()["results"]
    assert {one["name"]: one["interval"] for one in answer} == {"quick": 20, "slow": 90}


WHY = "The minimum interval of the Free plan is 20 s."


def test_shorter_interval_cannot_be_set(full_key: str, project: Project) -> None:
    person, pk = caller(full_key), make_agent(project).pk
    answer = person("PATCH", f"agents/{pk}", {"interval": 19.5})
    assert (answer.status_code, answer.json()["error"]["fields"]) == (422, {"interval": WHY})
    assert person("PATCH", f"agents/{pk}", {"interval": 20}).status_code == 200


def test_agent_page_explains_the_minimum(project: Project, owner: User, client_of: Any) -> None:
    agent = make_agent(project)
    page = f"/admin/agents/agent/{agent.pk}/change/"
    form = {"kind": "agent", "restart_policy": "manual", "labels": "{}", "rules": "{}"}
    assert WHY in client_of(owner).post(page, {**form, "interval": "5"}).content.decode()
    Agent.objects.update(interval=5)
    assert WHY not in client_of(owner).post(page, {**form, "interval": "5.0"}).content.decode(), "it was there before"


def test_plan_without_a_minimum_allows_it(world: World) -> None:
    set_plan(team=world.project.team, plan="starter", actor="test")
    world.beat(0)
    with world.clock(1) as now:
        services.change_agent(agent=world.agent(), changes={"interval": 1}, actor="test", now=now)
    assert world.agent().interval == 1


def test_plan_change_raises_existing_intervals(world: World) -> None:
    set_plan(team=world.project.team, plan="starter", actor="test")
    world.beat(0, interval=2)
    Agent.objects.update(interval=3)
    set_plan(team=world.project.team, plan="free", actor="test")
    assert (world.agent().interval, world.state().declared_interval) == (20, 20)
    entry = AuditEntry.objects.get(action="agent.changed")
    assert entry.data == {"interval": {"from": 3.0, "to": 20, "plan": "Free"}}
