"""LiteLLM: its captured spend log, guardrail request and budget alert; a hold blocks the next call."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db import DatabaseError
from django.test import Client

from agents.doors import litellm_views
from agents.models import Agent, AgentState, Heartbeat, IncidentEvent
from teams import services
from teams.models import Project, User
from tests.agents.doors.captures import FIXTURES

pytestmark = pytest.mark.django_db
Post = Callable[..., Any]


@pytest.fixture
def post(api_key: str) -> Post:
    def send(path: str, body: Any, key: str = api_key) -> Any:
        client = Client(headers={"x-api-key": key}, raise_request_exception=False)
        return client.post(path, body if isinstance(body, bytes) else json.dumps(body), content_type="application/json")

    return send


def captured(name: str) -> Any:
    return json.loads((FIXTURES / "doors" / name).read_text())


def spend(post: Post, path: str = "/hooks/litellm") -> Any:
    return post(path, captured("litellm.generic_api.json"))


def test_captured_spend(post: Post) -> None:
    for _ in range(2):
        answer = spend(post)
        assert (answer.status_code, answer.json()) == (200, {})
    state = AgentState.objects.get(agent__names__name="nightly")
    assert (state.tokens_today, state.cost_today) == (150, 31)
    uses = [use for row in Heartbeat.objects.all() for use in (row.content or {}).get("usage") or ()]
    assert [(use["model"], use["input_tokens"], use["output_tokens"]) for use in uses] == [("gpt-4o-mini", 120, 30)]
    assert state.reported == "ok"


def test_address_names_the_agent(post: Post) -> None:
    spend(post, "/hooks/litellm?agent=gateway")
    assert [agent.name for agent in Agent.objects.all()] == ["gateway"]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"request_tags": ["agent:night shift"], "metadata": {}}, "night shift"),
        ({"request_tags": [], "metadata": {"user_api_key_alias": "team-a"}}, "team-a"),
        ({"request_tags": None, "metadata": {}, "end_user": "u1"}, "u1"),
        ({"request_tags": None, "metadata": {}, "end_user": '{"device_id": "0"}'}, "litellm"),
        ({"request_tags": None, "metadata": None, "end_user": None}, "litellm"),
    ],
)
def test_who_made_the_call(post: Post, change: dict[str, Any], name: str) -> None:
    post("/hooks/litellm", [{**captured("litellm.generic_api.json")[0], **change}])
    assert [agent.name for agent in Agent.objects.all()] == [name]


def test_budget_alert_is_on_the_agent(post: Post) -> None:
    assert post("/hooks/litellm", captured("litellm.budget_webhook.json")).status_code == 200
    beat = Heartbeat.objects.get()
    assert str((beat.content or {}).get("message")).startswith("LiteLLM: User Budget: Budget Crossed")
    assert Agent.objects.get().name == "litellm"


@pytest.mark.parametrize("name", ["generic_guardrail_request", "claude_code.generic_guardrail_request_cut"])
def test_only_a_hold_blocks(post: Post, name: str) -> None:
    asked = captured(f"litellm.{name}.json" if name.startswith("generic") else f"litellm_{name}.json")
    path = "/beta/litellm_basic_guardrail_api?agent=nightly"
    assert post(path, asked).json() == {"action": "NONE"}
    spend(post)
    assert post(path, asked).json() == {"action": "NONE"}
    Agent.objects.update(daily_budget_usd="0.00001")
    AgentState.objects.update(hold=True)
    first, again = post(path, asked).json(), post(path, asked).json()
    assert first["action"] == again["action"] == "BLOCKED"
    assert "ClevAgent Watchdog holds this agent" in first["blocked_reason"]
    assert IncidentEvent.objects.filter(kind="note", text__startswith="Denied a call to").count() == 1


@pytest.mark.parametrize(
    ("change", "action"),
    [
        ({"additional_provider_specific_params": {"agent": "nightly"}}, "BLOCKED"),
        ({"request_data": {"user_api_key_alias": "nightly"}}, "BLOCKED"),
        ({"request_data": {"user_api_key_end_user_id": "nightly"}}, "BLOCKED"),
        ({}, "NONE"),
    ],
)
def test_whose_call_it_is(post: Post, change: dict[str, Any], action: str) -> None:
    spend(post)
    AgentState.objects.update(hold=True)
    asked = {**captured("litellm.generic_guardrail_request.json"), **change}
    assert post("/beta/litellm_basic_guardrail_api", asked).json()["action"] == action


def test_our_failure_blocks_nothing(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> Any:
        raise DatabaseError

    monkeypatch.setattr(litellm_views, "_judged", fail)
    answer = post("/beta/litellm_basic_guardrail_api", captured("litellm.generic_guardrail_request.json"))
    assert (answer.status_code, answer.json()) == (200, {"action": "NONE"})


def test_stranger_is_not_told(post: Post, stranger: User) -> None:
    theirs = Project.objects.get(name="Theirs")
    other_key = services.issue_key(project=theirs, name="k", scope="agent", actor="test")[1]
    spend(post)
    AgentState.objects.update(hold=True)
    path = "/beta/litellm_basic_guardrail_api?agent=nightly"
    assert post(path, {}, key=other_key).json() == {"action": "NONE"}


@pytest.mark.parametrize("path", ["/hooks/litellm", "/beta/litellm_basic_guardrail_api"])
@pytest.mark.parametrize(
    ("body", "status"), [(b"no json", 400), (b"", 400), (b"[[]]", 200), (b"7", 200), (b'[{"status": "success"}]', 200)]
)
def test_bad_bodies(post: Post, path: str, body: bytes, status: int) -> None:
    assert post(path, body).status_code == status
    assert post(path, b"{}", key="cv_wrong").status_code == 401
