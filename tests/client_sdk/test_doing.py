"""Heartbeats name the tool call that goes on."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from clevagent.counters import merged

from tests.client_sdk.test_reporter import EPOCH, Agent, Server


def last(server: Server) -> dict[str, Any]:
    return server.order[-1]


def test_a_running_tool_is_named_with_its_beginning() -> None:
    server = Server()
    agent = Agent(server)
    with agent.client.tool("fetch_page"):
        began = agent.now
        agent.let_pass(300)
        doing = last(server)["doing"]
    assert doing["tool"] == "fetch_page"
    assert datetime.fromisoformat(doing["since"]).timestamp() == EPOCH + began


def test_a_tool_that_ended_is_no_longer_named() -> None:
    server = Server()
    agent = Agent(server)
    with agent.client.tool("fetch_page"):
        agent.let_pass(60)
    agent.let_pass(60)
    assert "doing" not in last(server)


def test_of_nested_tools_the_inner_one_is_named_and_then_the_outer_one() -> None:
    server = Server()
    agent = Agent(server)
    with agent.client.tool("plan"):
        with agent.client.tool("search"):
            agent.let_pass(40)
            assert last(server)["doing"]["tool"] == "search"
        agent.let_pass(40)
        assert last(server)["doing"]["tool"] == "plan"


def test_an_error_ends_it_too() -> None:
    server = Server()
    agent = Agent(server)
    try:
        with agent.client.tool("fetch_page"):
            raise ValueError
    except ValueError:
        agent.let_pass(40)
    assert "doing" not in last(server)


def test_a_secret_in_a_tools_name_is_not_sent() -> None:
    server = Server()
    agent = Agent(server)
    with agent.client.tool("call sk-ant-api03-" + "a" * 40):
        agent.let_pass(40)
        assert "aaaa" not in last(server)["doing"]["tool"]


def test_unsent_heartbeats_made_one_say_what_the_newer_one_says() -> None:
    older = {"doing": {"tool": "a", "since": "2026-05-04T12:00:00+00:00"}}
    assert "doing" not in merged(older, {"seq": 2})
    assert merged({"seq": 1}, older)["doing"]["tool"] == "a"
