"""Heartbeats name the running tool call."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from clevagent.counters import merged

from tests.client_sdk.wire import EPOCH, Agent, Server


def last(server: Server) -> dict[str, Any]:
    return server.order[-1]


def test_running_tool_is_reported_with_its_start() -> None:
    server = Server()
    agent = Agent(server)
    with agent.client.tool("fetch_page"):
        began = agent.now
        agent.let_pass(300)
        doing = last(server)["doing"]
    assert doing["tool"] == "fetch_page"
    assert datetime.fromisoformat(doing["since"]).timestamp() == EPOCH + began


def test_ended_tool_is_not_reported() -> None:
    server = Server()
    agent = Agent(server)
    with agent.client.tool("fetch_page"):
        agent.let_pass(60)
    agent.let_pass(60)
    assert "doing" not in last(server)


def test_innermost_running_tool_is_reported() -> None:
    server = Server()
    agent = Agent(server)
    with agent.client.tool("plan"):
        with agent.client.tool("search"):
            agent.let_pass(40)
            assert last(server)["doing"]["tool"] == "search"
        agent.let_pass(40)
        assert last(server)["doing"]["tool"] == "plan"


def test_exception_ends_a_running_tool() -> None:
    server = Server()
    agent = Agent(server)
    try:
        with agent.client.tool("fetch_page"):
            raise ValueError
    except ValueError:
        agent.let_pass(40)
    assert "doing" not in last(server)


def test_tool_names_are_never_redacted() -> None:
    server = Server()
    agent = Agent(server)
    with agent.client.tool("skip_to_next_page"):
        agent.let_pass(40)
        assert last(server)["doing"]["tool"] == "skip_to_next_page"


def test_merged_heartbeats_keep_the_newer_tool() -> None:
    older = {"doing": {"tool": "a", "since": "2026-05-04T12:00:00+00:00"}}
    assert "doing" not in merged(older, {"seq": 2})
    assert merged({"seq": 1}, older)["doing"]["tool"] == "a"
