"""Code shared by integrations, and the published names without any framework installed."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import clevagent
import pytest
from clevagent import capture
from clevagent.integrations import report
from clevagent.testing import FakeServer

FRAMEWORKS = {
    "agentchat": ("autogen_core", "autogen-agentchat"),
    "claude_agent": ("claude_agent_sdk", "claude-agent-sdk"),
    "openai_agents": ("agents", "openai-agents"),
    "pydantic_ai": ("pydantic_ai", "pydantic-ai-slim"),
}
PUBLISHED = ("autogen", "crewai", "langchain", "langgraph")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    for module in ("agents", "autogen", "autogen_core", "claude_agent_sdk", "crewai", "langchain_core", "pydantic_ai"):
        monkeypatch.setitem(sys.modules, module, None)
    with FakeServer() as server:
        clevagent.init(server.key, "bot", endpoint=server.url, auto_cost=False, report_crashes=False)
        yield server
        clevagent.shutdown()


def published(name: str) -> Any:
    """Import a file again, as in a program without its framework."""
    module = importlib.import_module(f"clevagent.integrations.{name}")
    return importlib.reload(module)


def sent(server: FakeServer) -> list[dict[str, Any]]:
    assert clevagent.flush()
    return server.beats


def messages(server: FakeServer) -> list[str]:
    return [beat["message"] for beat in sent(server) if "message" in beat]


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_missing_framework_names_the_package(server: FakeServer, name: str) -> None:
    sys.modules.pop(f"clevagent.integrations.{name}", None)
    with pytest.raises(ImportError, match=rf"pip install .*{FRAMEWORKS[name][1]}"):
        importlib.import_module(f"clevagent.integrations.{name}")


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_names_import_without_a_framework(server: FakeServer, name: str) -> None:
    assert published(name)


def test_missing_autogen_names_the_package(server: FakeServer) -> None:
    with pytest.raises(ImportError, match=r"pip install .*ag2"):
        published("autogen").monitored_chat(SimpleNamespace(), SimpleNamespace(), "hello")


def test_langchain_reads_old_token_usage(server: FakeServer) -> None:
    handler = published("langchain").ClevAgentCallbackHandler(True, False)
    used = {"prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42}
    handler.on_llm_end(SimpleNamespace(llm_output={"token_usage": used, "model_name": "m"}, generations=[[]]))
    handler.on_llm_end(SimpleNamespace(llm_output={"token_usage": {"total_tokens": 7}}, generations=[]))
    sent(server)
    assert [(use["model"], use["input_tokens"], use.get("output_tokens")) for use in server.usage()] == [
        ("m", 30, 12),
        ("unknown", 7, None),
    ]


def test_call_seen_by_two_handlers_counts_once(server: FakeServer) -> None:
    kind = published("langchain").ClevAgentCallbackHandler
    answer = SimpleNamespace(llm_output={"token_usage": {"prompt_tokens": 5, "completion_tokens": 1}}, generations=[])
    for handler in (kind(), kind()):
        handler.on_llm_end(answer, run_id="run-1")
    sent(server)
    assert server.tokens() == 6


def test_unknown_answer_raises_nothing(server: FakeServer) -> None:
    handler = published("langchain").ClevAgentCallbackHandler()
    handler.on_llm_end(object())
    handler.on_tool_end("result", run_id="never began")
    handler.on_tool_start(None, "text")
    sent(server)
    assert server.usage() == []
    assert server.calls() == []


def test_node_callback_keeps_published_arguments(server: FakeServer) -> None:
    published("langgraph").clevagent_node_callback("research", "warning", 42, "slow")
    (beat,) = [beat for beat in sent(server) if "message" in beat]
    assert (beat["status"], beat["message"], beat["tokens_used"]) == ("warning", "slow", 42)


def test_monitored_node_returns_and_raises_unchanged(server: FakeServer) -> None:
    def plain(state: int, by: int) -> float:
        """Divides."""
        return state / by

    divide = published("langgraph").monitored_node("divide")(plain)
    assert divide(6, by=3) == 2
    with pytest.raises(ZeroDivisionError):
        divide(1, 0)
    assert divide.__doc__ == "Divides."
    assert messages(server)[-1] == "node:divide error: division by zero"


def test_step_output_is_optional(server: FakeServer) -> None:
    step = published("crewai").clevagent_step_callback
    step("x" * 500)
    assert messages(server)[-1].startswith("x" * 160 + " (step ")
    step(None)
    assert messages(server)[-1].startswith("step completed (step ")


def test_send_args_false_hides_step_text(server: FakeServer) -> None:
    clevagent.init(server.key, "bot", endpoint=server.url, send_args=False, auto_cost=False, report_crashes=False)
    published("crewai").clevagent_step_callback("a secret")
    assert messages(server)[-1].startswith("step completed (step ")
    assert "secret" not in str(server.beats)


def test_reply_function_does_not_reply(server: FakeServer) -> None:
    agent = SimpleNamespace(name="assistant")
    reply = published("autogen").clevagent_reply_func
    assert reply(agent, [{"content": "hi", "role": "user"}], None, None) == (False, None)
    assert reply(agent, None) == (False, None)
    assert reply(agent, ["what is this?"]) == (False, None)
    sent(server)
    assert server.tokens() == 0


def test_repeated_steps_have_distinct_messages(server: FakeServer) -> None:
    for _ in range(3):
        report.step("node:research completed")
        clevagent.flush()
    assert len(set(messages(server))) == 3
    assert server.beats[-1]["iteration_count"] == 3


def test_internal_errors_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    @report.quiet
    def plain() -> None:
        raise ValueError("a new release")

    @report.quiet
    async def coroutine() -> None:
        raise ValueError("another one")

    for _ in range(2):
        plain()
        asyncio.run(coroutine())
    assert caplog.text.count("ValueError('a new release')") == 1
    assert caplog.text.count("ValueError('another one')") == 1


def test_exit_exceptions_are_not_swallowed() -> None:
    @report.quiet
    def plain() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plain()


def test_unfinished_calls_are_bounded(server: FakeServer) -> None:
    calls = report.OpenCalls()
    for number in range(report.MAX_OPEN + 1):
        calls.begin(number, "search", {"page": number})
    assert not calls.end(0, "forgotten")
    assert calls.end(report.MAX_OPEN, "found")
    sent(server)
    assert [call["args"] for call in server.calls()] == [f"page={report.MAX_OPEN}"]


def test_moving_stream_reports_at_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    now, said = [0.0], []
    monkeypatch.setattr(clevagent, "ping", lambda: said.append(now[0]))
    stream = report.StreamProgress(lambda: now[0])
    for tenth in range(50):
        now[0] = tenth / 10
        stream.report()
    assert said == [0.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("watched", "call_id", "counted"),
    [(False, None, 1), (True, None, 0), (True, "msg_1", 1), (False, "msg_1", 1)],
)
def test_call_without_an_id_is_left_to_capture(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, watched: bool, call_id: str | None, counted: int
) -> None:
    monkeypatch.setattr(capture, "watches", lambda sdk: watched and sdk == "anthropic")
    report.usage(run_id="run-1", sdk="anthropic", call_id=call_id, model="m", input_tokens=5)
    sent(server)
    assert len(server.usage()) == counted


def test_nothing_happens_before_init() -> None:
    report.step("nobody listens")
    report.OpenCalls().begin("1", "search", {})
    report.usage(model="m", input_tokens=5)
