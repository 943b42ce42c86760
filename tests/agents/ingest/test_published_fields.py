"""Each field of the published clients' heartbeat: accepted as they send it and stored where it belongs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from agents.models import Agent, AgentState, Heartbeat, Status
from tests.agents.api.conftest import Call, caller
from tests.agents.conftest import World

pytestmark = pytest.mark.django_db
SMALLEST: dict[str, Any] = {"agent": "research-agent", "status": "ok"}


@pytest.fixture
def send(api_key: str) -> Callable[..., Any]:
    """POST a heartbeat like the published clients; returns the decoded answer."""
    call: Call = caller(api_key)

    def send(**fields: Any) -> Any:
        answer = call("POST", "heartbeat", {**SMALLEST, **fields})
        assert answer.status_code == 200, answer.content
        return answer.json()

    return send


def content() -> dict[str, Any]:
    return Heartbeat.objects.latest("id").content or {}


def state() -> AgentState:
    return AgentState.objects.get()


def test_minimal_heartbeat(send: Callable[..., Any]) -> None:
    answer = send()
    assert answer["agent_id"] == Agent.objects.get(name="research-agent").pk
    assert (answer["status"], answer["warning"]) == ("ok", None)
    stored = Heartbeat.objects.get()
    assert (stored.tokens, stored.cost, stored.tool_calls, stored.content) == (0, 0, 0, None)
    assert (stored.iteration, stored.memory_mb) == (None, None)


@pytest.mark.parametrize("status", ["ok", "warning", "error", "shutdown"])
def test_status(send: Callable[..., Any], status: str) -> None:
    assert send(status=status)["status"] == "ok"
    assert (state().reported, Heartbeat.objects.get().status) == (status, status)


@pytest.mark.parametrize(
    ("status", "shown"),
    [("ok", Status.OK), ("warning", Status.WARNING), ("error", Status.WARNING), ("shutdown", Status.STOPPED)],
)
def test_displayed_status(world: World, status: str, shown: str) -> None:
    world.beat(0, status=status)
    world.look(1)
    assert world.state().status == shown
    assert bool(world.incidents()) is (status == "error")


TRACEBACK = json.dumps({"traceback": "Traceback (most recent call last): …", "crash": True})
CALLS: list[dict[str, Any]] = [{"name": "search", "args": "q=" + "x" * 198}, {"name": "fetch"}]

# field -> (sent value, where it is stored, stored value)
FIELDS: dict[str, tuple[Any, Callable[[], Any], Any]] = {
    "message": ("page 2 done", lambda: content()["message"], "page 2 done"),
    "tokens_used": (1200, lambda: (state().tokens_today, Heartbeat.objects.get().tokens), (1200, 1200)),
    "cost_usd": (0.001234, lambda: (state().cost_today, Heartbeat.objects.get().cost), (1234, 1234)),
    "tool_calls": (3, lambda: Heartbeat.objects.get().tool_calls, 3),
    "iteration_count": (41, lambda: (state().iteration, Heartbeat.objects.get().iteration), (41, 41)),
    "tool_call_log": (CALLS, lambda: content()["calls"], CALLS),
    "memory_mb": (512.25, lambda: (state().memory_mb, Heartbeat.objects.get().memory_mb), (512.25, 512.25)),
    "custom_data": (TRACEBACK, lambda: content()["custom"], TRACEBACK),
    "agent_type": ("langchain", lambda: Agent.objects.get().agent_type, "langchain"),
    "container_id": ("3f4e8c", lambda: (state().restart_type, state().restart_target), ("docker", "3f4e8c")),
}


@pytest.mark.parametrize("field", FIELDS)
def test_field_is_stored(send: Callable[..., Any], field: str) -> None:
    value, kept, expected = FIELDS[field]
    send(**{field: value})
    assert kept() == expected


def test_prompt_hashes_alone_are_not_stored(send: Callable[..., Any]) -> None:
    send(prompt_hashes=["0123456789abcdef"])
    first = state().prompts_hash
    send(prompt_hashes=["0123456789abcdef"])
    assert (first is not None, state().prompts_hash) == (True, first)
    send(prompt_hashes=["0123456789abcdef", "fedcba9876543210"])
    assert state().prompts_hash != first


@pytest.mark.parametrize("kind", ["docker", "systemd", "launchd", "process", "k8s"])
def test_restart_type_and_target(send: Callable[..., Any], kind: str) -> None:
    send(restart_type=kind, restart_target="a/target:1")
    assert (state().restart_type, state().restart_target) == (kind, "a/target:1")
    assert state().runner


def test_container_id_does_not_replace_runner_target(send: Callable[..., Any]) -> None:
    send(restart_type="systemd", restart_target="research.service")
    send(container_id="3f4e8c")
    assert (state().restart_type, state().restart_target) == ("systemd", "research.service")


def test_counters_add_up_and_iterations_are_absolute(send: Callable[..., Any]) -> None:
    send(tokens_used=10, cost_usd=0.5, tool_calls=2, iteration_count=5)
    send(tokens_used=10, cost_usd=0.25, tool_calls=1, iteration_count=6)
    assert (state().tokens_today, state().cost_today, state().iteration) == (20, 750_000, 6)


def test_twenty_calls_keep_their_order(send: Callable[..., Any]) -> None:
    calls = [{"name": f"tool-{number}", "args": str(number)} for number in range(20)]
    send(tool_calls=20, tool_call_log=calls)
    assert content()["calls"] == calls


def test_omitted_fields_keep_their_value(send: Callable[..., Any]) -> None:
    send(iteration_count=5, memory_mb=100.5, restart_type="docker", restart_target="research")
    send()
    assert (state().iteration, state().memory_mb, state().restart_target) == (5, 100.5, "research")


def test_published_crash_heartbeat(world: World) -> None:
    world.beat(0, status="error", message="CRASH: ValueError: no such page", custom_data=TRACEBACK)
    world.look(1)
    (incident,) = world.incidents()
    assert (incident.kind, incident.reason) == ("crash", "Crashed: ValueError: no such page")


@pytest.mark.parametrize(
    ("field", "value"),
    [("status", "fine"), ("tokens_used", "many"), ("tool_call_log", "search"), ("restart_type", "initd")],
)
def test_wrong_type_names_the_field(api_key: str, field: str, value: object) -> None:
    answer = caller(api_key)("POST", "heartbeat", {**SMALLEST, field: value})
    assert answer.status_code == 200
    assert list(answer.json()["left_out"]) == [field]
    assert Heartbeat.objects.count() == 1


@pytest.mark.parametrize("name", [True, ["a"], {"a": 1}, "", "\u200b"])
def test_heartbeat_without_a_name_is_refused(api_key: str, name: object) -> None:
    answer = caller(api_key)("POST", "heartbeat", {**SMALLEST, "agent": name})
    assert answer.status_code == 422
    assert "agent" in answer.json()["error"]["fields"]
    assert not Heartbeat.objects.exists()
