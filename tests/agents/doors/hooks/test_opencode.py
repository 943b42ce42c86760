"""opencode: the captured events of its plugin, and the plugin that we serve, run by Node with a server that listens."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from agents.models import Agent, AgentState, Heartbeat
from tests.agents.doors.captures import FIXTURES

pytestmark = pytest.mark.django_db
Send = Callable[[dict[str, Any]], Any]
DRIVER = Path(__file__).with_name("opencode_driver.mjs")


@pytest.fixture
def send(api_key: str) -> Send:
    client = Client(headers={"authorization": f"Bearer {api_key}"}, raise_request_exception=False)
    return lambda event: client.post("/hooks/opencode?agent=fixer", json.dumps(event), content_type="application/json")


def captured() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FIXTURES / "doors/opencode_plugin.events.jsonl").read_text().splitlines()]


def totals() -> dict[str, Any]:
    state = AgentState.objects.get()
    contents = Heartbeat.objects.order_by("id").values_list("content", flat=True)
    calls = [call for content in contents for call in (content or {}).get("calls") or ()]
    usage = [use for content in contents for use in (content or {}).get("usage") or ()]
    names = ("input_tokens", "output_tokens", "reasoning_tokens", "cache_read_tokens")
    counts = {name: sum(use.get(name) or 0 for use in usage) for name in names}
    return {"tools": [(call["name"], call.get("ok")) for call in calls], "cost": state.cost_today, **counts}


TRUTH = {
    "tools": [("bash", True)],
    "cost": 348,
    "input_tokens": 360,
    "output_tokens": 90,
    "reasoning_tokens": 24,
    "cache_read_tokens": 192,
}


@pytest.mark.parametrize(("name", "status"), [("MessageAbortedError", "ok"), ("ProviderAuthError", "error")])
def test_turn_that_a_person_aborts_is_no_failure(send: Send, name: str, status: str) -> None:
    error = {"name": name, "data": {"message": "x"}}
    send({"hook": "event.session.error", "body": {"properties": {"sessionID": "s", "error": error}}})
    assert AgentState.objects.get().reported == status


def test_captured_session(send: Send) -> None:
    for event in captured():
        answer = send(event)
        assert (answer.status_code, answer.json()) == (200, {})
    assert totals() == TRUTH
    assert Agent.objects.get().name == "fixer"
    assert AgentState.objects.get().waiting_for == "the next prompt"


def test_messages_in_any_order_count_once(send: Send) -> None:
    events = captured() * 2
    random.Random(7).shuffle(events)
    for event in events:
        send(event)
    assert totals() == TRUTH


def test_held_agent_is_denied(send: Send) -> None:
    before = next(event for event in captured() if event["hook"] == "tool.execute.before")
    assert send(before).json() == {}
    AgentState.objects.update(hold=True)
    answer = send(before).json()
    assert set(answer) == {"decision", "reason"}


@pytest.mark.parametrize("event", [{}, {"hook": 3}, {"hook": "x", "body": []}, {"hook": "event.message.updated"}])
def test_unknown_event_is_ignored(send: Send, event: dict[str, Any]) -> None:
    assert send(event).status_code == 200


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
@pytest.mark.parametrize("mode", ["fine", "held", "loop", "away"])
def test_plugin_in_node(client: Client, tmp_path: Path, mode: str) -> None:
    served = client.get("/opencode/clevagent.js")
    assert served["Content-Type"].startswith("text/javascript")
    assert "__SERVER__" not in served.content.decode()
    (tmp_path / "clevagent.mjs").write_bytes(served.content)
    argv = ["node", str(DRIVER), str(tmp_path / "clevagent.mjs"), mode]
    said = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout)
    assert said["error"] == ("the reason" if mode == "held" else None)
    assert said["output"] == ("one\n\n\na word" if mode == "loop" else "one\n")
    if mode != "away":
        assert said["told"][:2] == ["chat.message", "tool.execute.before"]
        assert ("tool.execute.error" in said["told"]) is (mode != "held")
        assert said["authorization"] == "Bearer cv_test"
        assert "secret prompt" not in said["bodies"]
