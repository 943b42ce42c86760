"""Loops end to end: from heartbeats to the incident and the client's next answer."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from agents.incidents import actions
from agents.models import Agent, AgentMemory
from agents.rules import loop
from tests.agents.conftest import T0, World

SEARCH = {"name": "search_docs", "args": "query=release notes"}
STATUS = {"name": "get_status", "args": "job=1"}


def call_often(world: World, call: dict[str, Any], count: int, start: int = 0, **fields: Any) -> None:
    for at in range(start, start + count):
        world.beat(at, tool_calls=1, tool_call_log=[call], **fields)


def test_warning_is_delivered_within_two_seconds(world: World) -> None:
    call_often(world, {**SEARCH, "result_hash": "r"}, 4)
    world.look(4)
    answer = world.beat(5)
    assert answer.warning == "loop_detected"
    assert answer.reason == "`search_docs(query=release notes)` called 4 times with the same result in 3 seconds"
    assert world.beat(6).warning is None


def test_message_loops_are_reviewed_as_soon(world: World) -> None:
    world.beat(0, tool_calls=1, tool_call_log=[SEARCH])
    world.look(1)
    for at in range(2, 6):
        world.beat(at, message="I will now look into the failing import.", tokens_used=900, interval=60)
    world.look(6)
    assert world.beat(7).warning == "loop_detected"


def test_polling_opens_no_incident(world: World) -> None:
    call_often(world, STATUS, 20)
    world.look(21)
    assert world.incidents() == []
    standing = loop.current(AgentMemory.objects.get().rules["loop"], {})
    assert standing is not None
    assert (standing.severity, standing.evidence["pattern"]) == ("info", "polling")


@pytest.mark.parametrize(
    ("given", "call", "kinds"),
    [
        ({"poller:search_docs": True}, SEARCH, []),
        ({"poller:get_status": False}, STATUS, ["loop"]),
        ({"budget:search_docs": 9}, SEARCH, []),
        ({"repeats": 9}, SEARCH, []),
        ({"off": True}, SEARCH, []),
        ({}, SEARCH, ["loop"]),
    ],
)
def test_agent_thresholds_apply(world: World, given: dict[str, Any], call: dict[str, Any], kinds: Any) -> None:
    world.beat(0)
    Agent.objects.update(rules={"loop": given})
    call_often(world, call, 8, 1)
    world.look(10)
    assert world.kinds() == kinds


def test_changed_thresholds_apply_at_once(world: World) -> None:
    call_often(world, SEARCH, 8)
    world.look(9)
    assert world.kinds() == ["loop"]
    Agent.objects.update(rules={"loop": {"poller:search_docs": True}})
    world.beat(10)
    world.look(11)
    assert world.kinds() == []


def test_resent_log_without_counter_is_not_new(world: World) -> None:
    world.beat(0, tool_calls=2, tool_call_log=[SEARCH] * 2)
    for at in range(1, 10):
        world.beat(at, tool_call_log=[SEARCH] * 2, tokens_used=5)
    world.look(11)
    assert world.incidents() == []


@pytest.mark.parametrize("change", [{"labels": {"run_id": "2"}}, {"waiting": {"for": "approval"}}])
def test_new_run_or_persons_turn_ends_a_loop(world: World, change: dict[str, Any]) -> None:
    call_often(world, SEARCH, 5)
    world.look(6)
    assert world.kinds() == ["loop"]
    world.beat(7, **change)
    world.look(8)
    assert world.kinds() == []


def test_noise_in_between_keeps_one_incident(world: World) -> None:
    for at in range(0, 40, 4):
        call_often(world, SEARCH, 3, at)
        world.beat(at + 3, tool_calls=1, tool_call_log=[{"name": "note", "args": f"at={at}"}])
        world.look(at + 3.5)
    assert len(world.incidents()) == 1
    assert world.events() == ["opened"]


def test_dismissed_loop_needs_new_repetitions(world: World) -> None:
    call_often(world, SEARCH, 6)
    world.look(7)
    actions.resolve(incident=world.incidents()[0], actor="x", now=T0 + timedelta(seconds=8))
    call_often(world, SEARCH, 3, 9)
    world.look(13)
    assert world.kinds() == []
    call_often(world, SEARCH, 1, 14)
    world.look(16)
    assert world.kinds() == ["loop"]
