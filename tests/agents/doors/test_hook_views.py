"""Hooks of coding agents: what their captured events become, and when the next tool call is denied."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.test import Client
from django.utils import timezone

from agents.doors import denials
from agents.incidents import actions
from agents.models import Agent, AgentState, Heartbeat, Incident, IncidentEvent
from agents.review import review
from teams.models import Project
from tests.agents.conftest import T0
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


BEFORE = {"claude-code": "PreToolUse", "codex": "PreToolUse", "gemini": "BeforeTool"}
AFTER = {"claude-code": "PostToolUse", "codex": "PostToolUse", "gemini": "AfterTool"}
EVERY = pytest.mark.parametrize("program", BEFORE)


def asks(program: str, lap: int) -> dict[str, Any]:
    return {
        "hook_event_name": BEFORE[program],
        "session_id": "s",
        "tool_name": "Bash",
        "tool_input": {"command": "make"},
        "tool_use_id": f"t{lap}",
    }


def laps(send: Send, program: str, number: int, first: int = 0) -> list[Any]:
    """The same call with the same result, so many times, one every two seconds; the answers to its end."""
    found = []
    for lap in range(first, first + number):
        with time_machine.travel(T0 + timedelta(seconds=2 * lap)):
            send(asks(program, lap), program)
            after = {**asks(program, lap), "hook_event_name": AFTER[program], "tool_response": {"llmContent": "none"}}
            found.append(send(after, program).json())
            review.review([Agent.objects.get().pk], timezone.now())
    return found


@pytest.fixture(autouse=True)
def clock() -> Iterator[None]:
    """Starts after what `laps` sends."""
    with time_machine.travel(T0 + timedelta(seconds=60)):
        yield


def arm(project: Project, **thresholds: bool) -> None:
    project.rules = {"loop": thresholds}
    project.save()


def notes() -> list[str]:
    return list(IncidentEvent.objects.filter(kind="note").order_by("id").values_list("text", flat=True))


@EVERY
def test_loop_is_only_watched_by_default(send: Send, program: str) -> None:
    assert laps(send, program, 12) == [{}] * 12
    assert Incident.objects.open().get().kind == "loop"
    assert send(asks(program, 99), program).json() == {}


@EVERY
def test_loop_is_told_to_the_agent_once(send: Send, program: str, project: Project) -> None:
    arm(project, nudge=True)
    answers = [answer for answer in laps(send, program, 10) if answer]
    assert len(answers) <= 1
    words = answers or [send(asks(program, 99), program).json()]
    (told,) = words
    assert set(told) == {"hookSpecificOutput"}
    assert set(told["hookSpecificOutput"]) == {"hookEventName", "additionalContext"}
    assert "you are in a loop" in told["hookSpecificOutput"]["additionalContext"]
    assert "with the same result" in told["hookSpecificOutput"]["additionalContext"]
    assert [note for note in notes() if note.startswith("Told the agent: ")] == notes()
    assert len(notes()) == 1
    assert send(asks(program, 98), program).json() == {}


@EVERY
def test_loop_that_goes_on_is_denied(send: Send, program: str, project: Project) -> None:
    arm(project, hold=True)
    laps(send, program, 10)
    denied = [send(asks(program, 50 + lap), program).json() for lap in range(5)]
    assert [set(answer) for answer in denied] == [{"decision", "reason"}] * 5
    assert "with the same result" in denied[0]["reason"]
    assert "a person resolves the incident" in denied[0]["reason"]
    told, denial = notes()
    assert told.startswith("Told the agent: ")
    assert denial.startswith("Denied the tool Bash of ")
    actions.resolve(incident=Incident.objects.get(), actor="ann", now=timezone.now())
    review.review([Agent.objects.get().pk], timezone.now())
    assert send(asks(program, 90), program).json() == {}


def test_agent_that_stops_repeating_is_not_held(send: Send, project: Project) -> None:
    arm(project, hold=True)
    lap = 0
    while not notes():
        laps(send, "claude-code", 1, lap)
        lap += 1
    assert send(asks("claude-code", 99)).json() == {}
    assert not AgentState.objects.get().hold


def test_quiet_does_not_lift_a_hold(send: Send, project: Project) -> None:
    arm(project, hold=True)
    laps(send, "claude-code", 10)
    review.review([Agent.objects.get().pk], timezone.now() + timedelta(hours=1))
    assert "decision" in send(asks("claude-code", 99)).json()


def test_denied_budget_is_on_the_timeline(send: Send) -> None:
    """Also if the budget was exceeded a moment ago, before its review."""
    send(asks("claude-code", 1))
    Agent.objects.update(daily_budget_usd=1)
    AgentState.objects.update(cost_today=2_000_000, day=timezone.now().date())
    reasons = [send(asks("claude-code", lap)).json()["reason"] for lap in range(2, 6)]
    assert all("raises the budget" in reason for reason in reasons)
    assert [note.partition(".")[0] for note in notes()] == ["Denied the tool Bash of Claude Code"]


def test_our_failure_denies_nothing(send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    send(asks("claude-code", 1))
    AgentState.objects.update(hold=True)

    def fail(*args: Any, **named: Any) -> str:
        raise RuntimeError("ours")

    monkeypatch.setattr(denials, "deny", fail)
    answer = send(asks("claude-code", 2))
    assert (answer.status_code, answer.json()) == (200, {})


def test_person_s_hold_says_who_lifts_it(send: Send) -> None:
    send(asks("claude-code", 1))
    AgentState.objects.update(hold=True, hold_reason="Ann wants to look at it")
    reason = send(asks("claude-code", 2)).json()["reason"]
    assert "Ann wants to look at it" in reason
    assert "a person ends it" in reason
