"""Hooks of coding agents: what their captured events become, and when the next tool call is denied."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from agents.fleet import holds
from agents.models import Agent, AgentState, Heartbeat
from tests.agents.doors.captures import FIXTURES

pytestmark = pytest.mark.django_db
Send = Callable[..., Any]


@pytest.fixture
def send(api_key: str) -> Send:
    client = Client(headers={"authorization": f"Bearer {api_key}"}, raise_request_exception=False)

    def post(event: dict[str, Any] | bytes, program: str = "claude-code", agent: str = "fixer") -> Any:
        body = event if isinstance(event, bytes) else json.dumps(event)
        return client.post(f"/hooks/{program}?agent={agent}", body, content_type="application/json")

    return post


def events(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FIXTURES / "doors" / name).read_text().splitlines()]


def calls() -> list[dict[str, Any]]:
    contents = Heartbeat.objects.order_by("id").values_list("content", flat=True)
    return [call for content in contents for call in (content or {}).get("calls") or ()]


@pytest.mark.parametrize(
    ("name", "program", "tools", "failed"),
    [
        ("claude_code.hooks.jsonl", "claude-code", 4, 2),
        ("claude_code_deny.hooks.jsonl", "claude-code", 1, 0),
        ("claude_code_subagent.hooks.jsonl", "claude-code", 3, 0),
        ("claude_code_mcp_tool.hooks.jsonl", "claude-code", 1, 0),
        ("claude_code_tui.hooks.jsonl", "claude-code", 1, 0),
        ("codex_cli.hooks.jsonl", "codex", 1, 0),
        ("gemini_cli.hooks.jsonl", "gemini", 1, 0),
    ],
)
def test_captured_session(send: Send, name: str, program: str, tools: int, failed: int) -> None:
    for event in events(name):
        answer = send(event, program)
        assert (answer.status_code, answer.content) == (200, b"{}")
    assert len(calls()) == tools
    assert sum(call.get("ok") is False for call in calls()) == failed
    assert [agent.name for agent in Agent.objects.all()] == ["fixer"]


def test_equal_calls_have_equal_hashes(send: Send) -> None:
    for event in events("claude_code.hooks.jsonl"):
        send(event)
    assert all(call.get("args_hash") for call in calls())


def test_permission_is_a_declared_wait(send: Send) -> None:
    for event in events("claude_code_tui.hooks.jsonl"):
        send(event)
        if event["hook_event_name"] == "PermissionRequest":
            break
    assert AgentState.objects.get().waiting_for == "approval"


def test_failed_turn_is_an_error(send: Send) -> None:
    for event in events("claude_code_api_error.hooks.jsonl"):
        send(event)
        if event["hook_event_name"] == "StopFailure":
            break
    assert AgentState.objects.get().reported == "error"


def test_end_of_the_session_is_no_alarm(send: Send) -> None:
    for event in events("claude_code.hooks.jsonl"):
        send(event)
    assert AgentState.objects.get().reported == "shutdown"


def test_held_agent_is_denied_its_next_tool(send: Send) -> None:
    """Exactly two keys: Codex runs the tool if there is another."""
    before = next(event for event in events("claude_code.hooks.jsonl") if event["hook_event_name"] == "PreToolUse")
    assert send(before).json() == {}
    AgentState.objects.update(hold=True)
    answer = send({**before, "tool_use_id": "another"})
    assert answer.status_code == 200
    assert set(answer.json()) == {"decision", "reason"}
    assert answer.json()["decision"] == "block"
    assert "holds this agent" in answer.json()["reason"]


def test_persons_hold_is_denied_with_their_reason(send: Send) -> None:
    before = next(event for event in events("claude_code.hooks.jsonl") if event["hook_event_name"] == "PreToolUse")
    send(before)
    holds.hold(agent=Agent.objects.get(), actor="ann@example.com", reason="wrong branch", now=timezone.now())
    reason = send({**before, "tool_use_id": "another"}).json()["reason"]
    assert "ann@example.com: wrong branch" in reason
    assert "until a person ends it" in reason
    holds.end_hold(agent=Agent.objects.get(), actor="ann@example.com", now=timezone.now())
    assert send({**before, "tool_use_id": "a third"}).json() == {}


def test_held_agent_may_end_what_it_began(send: Send) -> None:
    after = next(event for event in events("claude_code.hooks.jsonl") if event["hook_event_name"] == "PostToolUse")
    send(after)
    AgentState.objects.update(hold=True)
    assert send({**after, "tool_use_id": "another"}).json() == {}


@pytest.mark.parametrize(("body", "status"), [(b"", 400), (b"no json", 400), (b"[]", 422), (b"{}", 200)])
def test_bad_event_stops_nobody(send: Send, body: bytes, status: int) -> None:
    answer = send(body)
    assert answer.status_code == status
    assert "decision" not in answer.json()
    assert not Heartbeat.objects.exists()


def test_hook_and_telemetry_tell_a_tool_once(send: Send, api_key: str) -> None:
    """Both know the session and the tool's id."""
    for event in events("claude_code_hooks_httpjson.hooks.jsonl"):
        send(event, agent="nightly-fixer")
    told = len(calls())
    body = (FIXTURES / "doors" / "claude_code_hooks_httpjson.logs.json").read_bytes()
    answer = Client().post(
        "/v1/logs", body, content_type="application/json", headers={"authorization": f"Bearer {api_key}"}
    )
    assert answer.status_code == 200
    assert (told, len(calls())) == (2, 2)
