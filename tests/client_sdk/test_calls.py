"""What each SDK call adds to the heartbeats."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import clevagent
import pytest
from clevagent.testing import FakeServer

pytestmark = pytest.mark.usefixtures("quiet_end")


@pytest.fixture
def agent(server: FakeServer) -> FakeServer:
    clevagent.init(api_key=server.key, agent="bot", endpoint=server.url, auto_cost=False, report_crashes=False)
    return server


def told(server: FakeServer, name: str) -> list[Any]:
    """Return the field's values in all heartbeats so far."""
    assert clevagent.flush()
    return [beat[name] for beat in server.beats if name in beat]


# As used with the published client.
PUBLISHED = {
    "init": "api_key agent interval endpoint auto_cost on_loop on_cost_exceeded agent_type cost_limit_usd",
    "ping": "status message tokens_used cost_usd tool_calls iteration_count memory_mb custom",
    "log_cost": "tokens cost_usd model",
    "log_tool_call": "name args_summary",
    "log_iteration": "count",
    "log_prompt": "text",
    "shutdown": "",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_signatures_are_unchanged(name: str) -> None:
    names = list(inspect.signature(getattr(clevagent, name)).parameters)
    assert names[: len(PUBLISHED[name].split())] == PUBLISHED[name].split()


def test_public_names_exist_with_docstrings() -> None:
    for name in clevagent.__all__:
        assert inspect.getdoc(getattr(clevagent, name)), name


def test_ping_adds_to_the_counts(agent: FakeServer) -> None:
    clevagent.log_cost(500, 0.25, model="gpt-5")
    clevagent.ping("ok", "done", 7, 0.5, 3, 12, 99.5, {"queue": 4})
    assert clevagent.flush()
    beat = next(beat for beat in agent.beats if "message" in beat)
    assert (beat["tokens_used"], beat["cost_usd"], beat["tool_calls"]) == (507, 0.75, 3)
    assert (beat["iteration_count"], beat["memory_mb"], beat["message"]) == (12, 99.5, "done")
    assert beat["custom_data"] == '{"queue": 4}'
    assert beat["progress"] is True


def test_tool_call_sends_hashes_and_a_short_text(agent: FakeServer) -> None:
    text = "x" * 5000
    with clevagent.tool("fetch", {"url": text}) as call:
        call.result = [text]
    clevagent.log_tool_call("fetch", args={"url": text}, result=[text])
    clevagent.log_tool_call("fetch", args={"url": text + "y"}, result=[text])
    assert clevagent.flush()
    first, second, third = agent.calls()
    assert len(first["args"]) == 200
    assert first["ok"] is True
    assert first["ms"] >= 0
    assert (first["args_hash"], first["result_hash"]) == (second["args_hash"], second["result_hash"])
    assert third["args_hash"] != first["args_hash"]


def test_send_args_false_sends_no_arguments(server: FakeServer) -> None:
    clevagent.init(api_key=server.key, agent="bot", endpoint=server.url, send_args=False, report_crashes=False)
    clevagent.log_tool_call("search", "query=private")
    clevagent.log_tool_call("search", args={"query": "private"})
    assert clevagent.flush()
    assert "private" not in str(server.requests)
    assert all(call["args_hash"] and "args" not in call for call in server.calls())


def test_secrets_are_redacted(agent: FakeServer) -> None:
    secret = "sk-abcdefghijklmnopqrst"
    clevagent.ping(message=f"using {secret}", custom={"header": f"Bearer {secret}"})
    clevagent.log_tool_call("fetch", f"https://me:{secret}@example.com/")
    assert clevagent.flush()
    assert secret not in str([request.body for request in agent.requests])
    assert "using [hidden]" in [beat.get("message") for beat in agent.beats]


def test_tool_exception_is_reported_and_raised(agent: FakeServer) -> None:
    with pytest.raises(ZeroDivisionError), clevagent.tool("divide"):
        _ = 1 / 0
    assert clevagent.flush()
    assert agent.calls()[0]["ok"] is False


def test_tool_decorates_every_kind_of_function(agent: FakeServer) -> None:
    @clevagent.tool("plain")
    def plain(a: int, b: int = 2) -> int:
        return a + b

    @clevagent.tool("awaited")
    async def awaited(a: int) -> int:
        return a

    assert plain(1, b=5) == 6
    assert asyncio.run(awaited(3)) == 3
    assert clevagent.flush()
    assert [(call["name"], call["args"]) for call in agent.calls()] == [("plain", "0=1, b=5"), ("awaited", "0=3")]
    assert all("result_hash" in call for call in agent.calls())


def test_monitor_decorates_every_kind_of_function(agent: FakeServer) -> None:
    @clevagent.monitor
    def plain() -> str:
        return "plain"

    @clevagent.monitor("named")
    async def awaited() -> str:
        return "awaited"

    @clevagent.monitor
    def generator() -> Iterator[int]:
        yield from (1, 2)

    @clevagent.monitor()
    async def stream() -> AsyncIterator[int]:
        yield 3

    async def collect() -> list[int]:
        return [item async for item in stream()]

    assert (plain(), asyncio.run(awaited())) == ("plain", "awaited")
    assert (list(generator()), asyncio.run(collect())) == ([1, 2], [3])
    assert told(agent, "iteration_count")[-1] == 4
    assert told(agent, "progress")[-1] is True


def test_monitored_exception_is_reported_and_raised(agent: FakeServer) -> None:
    @clevagent.monitor("nightly")
    def fails() -> None:
        raise ValueError("no rows")

    with pytest.raises(ValueError, match="no rows"):
        fails()
    assert told(agent, "message") == ["nightly failed: ValueError: no rows"]
    assert told(agent, "status")[-1] == "error"


def test_failed_iteration_is_not_progress(agent: FakeServer) -> None:
    clevagent.flush()
    with pytest.raises(ValueError, match="x"), clevagent.iteration():
        raise ValueError("x")
    assert told(agent, "progress") == []
    with clevagent.iteration():
        time.sleep(0.01)
    assert told(agent, "progress") == [True]
    assert told(agent, "iteration_ms")[-1] >= 10


def test_iterations_and_tools_work_with_async(agent: FakeServer) -> None:
    async def work() -> None:
        async with clevagent.iteration(), clevagent.tool("search", "q"):
            await asyncio.sleep(0)

    asyncio.run(work())
    assert told(agent, "iteration_count")[-1] == 1
    assert [call["args"] for call in agent.calls()] == ["q"]


@pytest.mark.parametrize("until", [3600, timedelta(hours=1), None])
def test_wait_is_reported_with_its_end(agent: FakeServer, until: Any) -> None:
    an_hour = until or datetime.now(UTC) + timedelta(hours=1)
    with clevagent.waiting("approval", until=an_hour):
        assert clevagent.flush()
        wait = agent.beats[-1]["waiting"]
    left = datetime.fromisoformat(wait["until"]) - datetime.now(UTC)
    assert wait["for"] == "approval"
    assert timedelta(minutes=55) < left <= timedelta(hours=1)
    assert told(agent, "waiting")[-1] is None


def test_tool_timeout_counts_as_waiting(agent: FakeServer) -> None:
    with clevagent.tool("train", timeout=900):
        assert clevagent.flush()
        assert agent.beats[-1]["waiting"]["for"] == "tool train"
    assert told(agent, "waiting")[-1] is None


def test_prompt_hashes_are_sent_when_changed(agent: FakeServer) -> None:
    for number in range(7):
        clevagent.log_prompt(f"prompt {number}")
    clevagent.ping()
    windows = told(agent, "prompt_hashes")
    clevagent.ping()
    assert told(agent, "prompt_hashes") == windows
    assert len(windows[-1]) == 5
    assert "prompt 6" not in str(agent.requests)


def test_repeated_call_id_is_counted_once(agent: FakeServer) -> None:
    for _ in range(2):
        clevagent.log_usage(
            model="gpt-5", provider="openai", input_tokens=10, output_tokens=5, cache_read_tokens=4, call_id="resp_1"
        )
    clevagent.log_usage(model="gpt-5", input_tokens=1)
    clevagent.log_usage(model="gpt-5", input_tokens=1)
    assert clevagent.flush()
    first = {"model": "gpt-5", "provider": "openai", "input_tokens": 10, "output_tokens": 5, "cache_read_tokens": 4}
    assert agent.usage() == [first, *[{"model": "gpt-5", "input_tokens": 1}] * 2]


def test_unstorable_texts_keep_the_totals(agent: FakeServer) -> None:
    clevagent.ping(message="nul \0 and half \ud800 and " + "x" * 9000, cost_usd=0.5)
    assert clevagent.flush()
    beat = next(beat for beat in agent.beats if "message" in beat)
    assert beat["message"].startswith("nul  and half ? and ")
    assert len(beat["message"]) == 2000
    assert beat["cost_usd"] == 0.5


@pytest.mark.parametrize("arguments", [{"api_key": ""}, {"api_key": "k", "endpoint": "here"}, {"no_such": 1}])
def test_warnings_point_at_the_program(monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any]) -> None:
    monkeypatch.delenv("CLEVAGENT_API_KEY", raising=False)
    with pytest.warns(RuntimeWarning) as warned:
        clevagent.init(**arguments)
    assert {warning.filename for warning in warned} == {__file__}
