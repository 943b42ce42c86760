"""`/mcp`: both generations of the protocol, every tool, scopes and confirmations."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.test import Client
from django.utils import timezone

from agents.api.mcp.fitting import MAX_ANSWER
from agents.api.mcp.tools import CONFIRM_WITHIN, TOOLS
from agents.ingest.registration import create_agent
from agents.models import Agent, AgentState, Command, Incident, IncidentEvent, Runner
from teams import services
from teams.models import Project

Rpc = Callable[..., Any]


def rpc(key: str) -> Rpc:
    client = Client(headers={"Authorization": f"Bearer {key}"})

    def send(method: str, **params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
        answer = client.post("/mcp", body, content_type="application/json")
        assert method != "tools/call" or len(answer.content) <= MAX_ANSWER
        return answer.json()

    return send


def call(send: Rpc, name: str, **arguments: Any) -> tuple[Any, bool]:
    """What the tool answers, and whether it refused."""
    result = send("tools/call", name=name, arguments=arguments)["result"]
    (content,) = result["content"]
    return content["text"] if result["isError"] else json.loads(content["text"]), result["isError"]


@pytest.fixture
def full(full_key: str) -> Rpc:
    return rpc(full_key)


@pytest.fixture
def restartable(agent: Agent) -> Agent:
    """An agent that a runner watches."""
    target = {"runner": "1/10.0.0.1", "restart_type": "systemd", "restart_target": "x.service"}
    AgentState.objects.filter(agent=agent).update(runner_at=timezone.now(), **target)
    Runner.objects.create(project=agent.project, source="1/10.0.0.1", polled_at=timezone.now())
    return agent


def test_older_clients_initialize(full: Rpc) -> None:
    result = full("initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo={})["result"]
    assert (result["protocolVersion"], result["capabilities"]) == ("2025-06-18", {"tools": {}})
    assert full("initialize", protocolVersion="1999-01-01")["result"]["protocolVersion"] == "2025-11-25"
    assert full("ping")["result"] == {}


def test_newer_clients_discover(full: Rpc) -> None:
    result = full("server/discover")["result"]
    assert "2026-07-28" in result["supportedVersions"]
    assert (result["resultType"], result["cacheScope"]) == ("complete", "public")
    assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "clevagent-watchdog"
    listed = full("tools/list")["result"]
    assert listed["ttlMs"] > 0
    assert {tool["name"] for tool in listed["tools"]} == set(TOOLS)


def test_what_is_no_request(full_key: str, full: Rpc) -> None:
    client = Client(headers={"Authorization": f"Bearer {full_key}"})
    assert client.get("/mcp").status_code == 405
    note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert client.post("/mcp", note, content_type="application/json").status_code == 202
    refused = ("{", "[]", '"x"', "{}", *(f'{{"method": "ping", "id": {wrong}}}' for wrong in ("null", "[]", "true")))
    for body in refused:
        assert client.post("/mcp", body, content_type="application/json").status_code == 400
    assert full("resources/list")["error"]["code"] == -32601
    assert full("tools/call", name="drop_tables")["error"]["code"] == -32602
    assert Client().post("/mcp", note, content_type="application/json").status_code == 401


def test_agents_and_incidents_are_explained(full: Rpc, incident: Incident) -> None:
    agents, _ = call(full, "list_agents")
    assert [(row["name"], row["status"]) for row in agents["worst_first"]] == [("research-agent", "stalled")]
    explained, _ = call(full, "explain_agent", agent="research-agent")
    assert explained["problems"] == [{"kind": "stalled", "reason": "No progress for 6 min"}]
    incidents, _ = call(full, "list_incidents")
    assert incidents["newest_first"][0]["id"] == incident.pk
    shown, _ = call(full, "explain_incident", incident=incident.pk)
    assert shown["evidence"] == {"timeout": 300}


def test_agents_check_in_and_wait(api_key: str, agent: Agent) -> None:
    send = rpc(api_key)
    answer, refused = call(send, "check_in", agent="research-agent", message="page 3")
    assert (answer["agent_id"], refused) == (agent.pk, False)
    call(send, "declare_wait", agent="research-agent", **{"for": "approval", "minutes": 5})
    assert AgentState.objects.get(agent=agent).waiting_for == "approval"


def test_incident_is_acknowledged_and_noted(full: Rpc, incident: Incident) -> None:
    assert call(full, "acknowledge", incident=incident.pk)[0]["state"] == "acknowledged"
    call(full, "note", incident=incident.pk, text="looking at the queue")
    assert IncidentEvent.objects.filter(incident=incident, text__contains="looking at the queue").exists()


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [
        ("agent", {"check_in", "declare_wait"}),
        ("read", {"list_agents", "explain_agent", "list_incidents", "explain_incident"}),
        ("act", set(TOOLS) - {"check_in", "declare_wait"}),
    ],
)
def test_tools_need_their_scope(project: Project, incident: Incident, scope: str, allowed: set[str]) -> None:
    send = rpc(services.issue_key(project=project, name="k", scope=scope, actor="test")[1])
    arguments = {"agent": "research-agent", "incident": incident.pk, "text": "x", "reason": "x", "for": "x"}
    answers = {name: call(send, name, **arguments) for name in TOOLS}
    refused = {name for name, (text, is_error) in answers.items() if is_error and "This key has the scope" in text}
    assert refused == set(TOOLS) - allowed
    assert not Command.objects.exists()


@pytest.mark.parametrize("action", ["restart", "stop"])
def test_commands_need_a_confirmation(full: Rpc, restartable: Agent, action: str) -> None:
    arguments = {"agent": "research-agent", "reason": "stuck"}
    asked, _ = call(full, action, **arguments)
    assert not Command.objects.exists()
    other = {"restart": "stop", "stop": "restart"}[action]
    real = asked["confirmation_id"]
    for name, confirmation in ((other, real), ("hold", real), (action, "x"), (action, "1:2")):
        assert call(full, name, **arguments, confirmation_id=confirmation)[1]
    assert not Command.objects.exists()
    answer, refused = call(full, action, **arguments, confirmation_id=asked["confirmation_id"])
    assert not refused, answer
    command = Command.objects.get()
    assert (command.action, command.agent_id) == (action, restartable.pk)


def test_hold_is_confirmed_and_ended(full: Rpc, agent: Agent) -> None:
    arguments = {"agent": "research-agent", "reason": "wrong branch"}
    asked, _ = call(full, "hold", **arguments)
    assert asked["will"].startswith("hold research-agent")
    assert not AgentState.objects.get().hold
    confirmed = {**arguments, "confirmation_id": asked["confirmation_id"]}
    assert call(full, "hold", **confirmed) == ({"agent": "research-agent", "hold": True}, False)
    assert AgentState.objects.get().hold_reason.endswith(": wrong branch")
    asked, _ = call(full, "end_hold", **arguments)
    confirmed = {**arguments, "confirmation_id": asked["confirmation_id"]}
    assert call(full, "end_hold", **confirmed) == ({"agent": "research-agent", "hold": False}, False)


def test_confirmation_is_valid_once(full: Rpc, agent: Agent) -> None:
    arguments = {"agent": "research-agent", "reason": "wrong branch"}
    confirmed = {**arguments, "confirmation_id": call(full, "hold", **arguments)[0]["confirmation_id"]}
    assert not call(full, "hold", **confirmed)[1]
    text, is_error = call(full, "hold", **confirmed)
    assert (is_error, "used already" in text) == (True, True)


def test_confirmation_expires_and_is_ones_own(full: Rpc, project: Project, restartable: Agent) -> None:
    arguments = {"agent": "research-agent", "reason": "stuck"}
    confirmation = call(full, "restart", **arguments)[0]["confirmation_id"]
    other = rpc(services.issue_key(project=project, name="k", scope="full", actor="test")[1])
    assert call(other, "restart", **arguments, confirmation_id=confirmation)[1]
    with time_machine.travel(timezone.now() + timedelta(seconds=CONFIRM_WITHIN + 2), tick=False):
        assert call(full, "restart", **arguments, confirmation_id=confirmation)[1]
    assert not Command.objects.exists()


def test_strangers_see_nothing(as_stranger: Any, stranger: Any, incident: Incident) -> None:
    theirs = Project.objects.get(team__members=stranger)
    send = rpc(services.issue_key(project=theirs, name="k", scope="full", actor="test")[1])
    assert call(send, "list_agents")[0]["count"] == 0
    for name in ("explain_agent", "restart"):
        assert call(send, name, agent="research-agent", reason="x")[1]
    for name in ("explain_incident", "acknowledge"):
        assert call(send, name, incident=incident.pk)[1]


@pytest.mark.parametrize("letter", ["\u7a81", '"', "\\"])
def test_large_answers_are_cut_and_stay_json(full: Rpc, incident: Incident, letter: str) -> None:
    text = letter * 2_000
    # As long as their columns allow.
    reason = text[: Incident._meta.get_field("reason").max_length]
    evidence = {f"{number} {text[:50]}": [text, {"deep": [text] * 50}] for number in range(60)}
    incident.signals.update(reason=reason, evidence=evidence)
    Incident.objects.update(reason=reason)
    for number in range(30):
        IncidentEvent.objects.create(incident=incident, kind="note", text=f"{number} {text}"[:500], at=timezone.now())
    for number in range(9):
        other = create_agent(project=incident.project, name=f"{number}", now=timezone.now())
        facts = {name: getattr(incident, name) for name in ("project", "kind", "severity", "started_at", "opened_at")}
        Incident.objects.create(agent=other, reason=reason, **facts)
    shown, _ = call(full, "explain_incident", incident=incident.pk)
    assert shown["timeline_newest_first"][0]["text"].startswith("29 ")
    assert shown["id"] == incident.pk
    assert call(full, "list_incidents")[0]["newest_first"][0]["reason"].endswith("…")
    assert call(full, "explain_agent", agent="research-agent")[0]["problems"]
    refusal, is_error = call(full, "explain_agent", agent=text)
    assert is_error
    assert "no agent named" in refusal


def test_many_agents_with_long_names_fit(full: Rpc, agent: Agent) -> None:
    now, count = timezone.now(), 60
    for number in range(count):
        create_agent(project=agent.project, name=f"{number} " + "\u7a81" * 195, now=now)
    shown, is_error = call(full, "list_agents")
    assert (is_error, shown["count"]) == (False, count + 1)
    (rows,) = [value for value in shown.values() if isinstance(value, list)]
    assert rows


def test_agents_check_in_under_the_name_that_heartbeats_have(api_key: str, full: Rpc, project: Project) -> None:
    """A name is read as over HTTP: what is invisible or too long in it does not make a heartbeat fail."""
    for name in ("lonely\u200b", "n" * 500):
        assert not call(rpc(api_key), "check_in", agent=name, message="m" * 1_900)[1]
        assert call(full, "explain_agent", agent=name)[0]["status"]
    assert Agent.objects.filter(project=project, name="lonely").exists()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("explain_agent", {"agent": "\ud800"}),
        ("check_in", {"agent": "\u200b"}),
        ("check_in", {"agent": "a", "message": "\udfff"}),
        ("note", {"incident": 1, "text": "x" * 60_000}),
        ("explain_agent", {}),
        ("explain_agent", {"agent": 7}),
        ("explain_agent", {"agent": "a\0"}),
        ("explain_incident", {"incident": "x"}),
        ("explain_incident", {"incident": 10**30}),
        ("explain_incident", {"incident": True}),
        ("declare_wait", {"agent": "a", "for": "b", "minutes": "long"}),
        ("declare_wait", {"agent": "a", "for": "b", "minutes": 10**9}),
    ],
)
def test_wrong_arguments_are_explained(full: Rpc, name: str, arguments: dict[str, Any]) -> None:
    assert call(full, name, **arguments)[1]
