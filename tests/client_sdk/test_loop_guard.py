from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import clevagent
import pytest
from clevagent import limits
from clevagent.loop_guard import LoopGuard


@pytest.fixture(autouse=True)
def without_sdks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(limits, "watch_models", lambda: None)
    yield
    limits._everywhere.clear()


def run(*names: str, result: Any = "the same") -> None:
    for name in names:
        with clevagent.tool(name, {"q": 1}) as call:
            call.result = result
        limits.start_call(None)


def test_same_call_and_result_is_a_loop() -> None:
    with LoopGuard(repeats=5), pytest.raises(clevagent.LoopDetected, match="search was called 5 times with the same"):
        run(*["search"] * 6)


def test_cycle_is_a_loop() -> None:
    with LoopGuard(repeats=3), pytest.raises(clevagent.LoopDetected, match="edit → build was repeated 3 times"):
        run(*["edit", "build"] * 4)


def test_four_calls_are_no_loop_of_five() -> None:
    with LoopGuard(repeats=5) as guard:
        run(*["search"] * 4)
        guard.check()


def test_new_results_are_no_loop() -> None:
    with LoopGuard():
        for page in range(30):
            run("next_page", result=page)


@pytest.mark.parametrize("name", ["get_status", "getStatus", "wait", "poll_queue", "job-progress"])
def test_polling_is_no_loop(name: str) -> None:
    with LoopGuard():
        run(*[name] * 30)


def test_own_pollers_are_no_loop() -> None:
    with LoopGuard(pollers=["look"]):
        run(*["look"] * 30)


def test_work_between_polls_is_no_loop() -> None:
    with LoopGuard():
        run(*["fetch", "wait"] * 30)


def test_unknown_results_need_more() -> None:
    with LoopGuard(repeats=5) as guard:
        for _ in range(8):
            clevagent.log_tool_call("search", args={"q": 1})
        guard.check()
        clevagent.log_tool_call("search", args={"q": 1})
        with pytest.raises(clevagent.LoopDetected, match=r"search was called 9 times$"):
            guard.check()


def test_same_failure_is_a_loop() -> None:
    with LoopGuard() as guard:
        for _ in range(5):
            with pytest.raises(OSError, match="gone"), clevagent.tool("read", "x"):
                raise OSError("gone")
        with pytest.raises(clevagent.LoopDetected):
            guard.check()


def chat(laps: int) -> list[Any]:
    messages: list[Any] = [{"role": "user", "content": "go"}]
    for lap in range(laps):
        call = {"id": f"call_{lap}", "type": "function", "function": {"name": "search", "arguments": '{"q": 1}'}}
        messages += [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": f"call_{lap}", "content": "nothing found"},
        ]
    return messages


def messages(laps: int) -> list[Any]:
    found: list[Any] = [{"role": "user", "content": "go"}]
    for lap in range(laps):
        result = {"type": "tool_result", "tool_use_id": f"toolu_{lap}", "content": "nothing found"}
        found += [
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": f"toolu_{lap}", "name": "search", "input": {}}],
            },
            {"role": "user", "content": [result]},
        ]
    return found


def responses(laps: int) -> list[Any]:
    found: list[Any] = [{"role": "user", "content": "go"}]
    for lap in range(laps):
        found += [
            {"type": "function_call", "id": f"fc_{lap}", "call_id": f"call_{lap}", "name": "search", "arguments": "{}"},
            {"type": "function_call_output", "call_id": f"call_{lap}", "output": "nothing found"},
        ]
    return found


@pytest.mark.parametrize("conversation", [chat, messages, responses])
def test_conversation_shows_the_loop(conversation: Any) -> None:
    with LoopGuard(repeats=5):
        for laps in range(6):
            limits.start_call(conversation(laps))
        with pytest.raises(clevagent.LoopDetected, match="search was called 5 times"):
            limits.start_call(conversation(6))


@pytest.mark.parametrize("conversation", [chat, messages, responses])
def test_conversation_sent_again_counts_once(conversation: Any) -> None:
    with LoopGuard(repeats=5):
        for _ in range(10):
            limits.start_call(conversation(2))


def test_reported_calls_are_not_read_twice() -> None:
    with LoopGuard(repeats=5) as guard:
        for laps in range(1, 5):
            run("search", result="nothing found")
            limits.start_call(chat(laps))
        guard.check()


@pytest.mark.parametrize("nonsense", [None, 7, "hello", [None], [{"content": 3}], [{"tool_calls": [{"function": 1}]}]])
def test_unknown_messages_are_ignored(nonsense: Any) -> None:
    with LoopGuard():
        for _ in range(20):
            limits.start_call(nonsense)


def test_new_task_starts_over() -> None:
    with LoopGuard(repeats=5) as guard:
        run(*["search"] * 4)
        guard.reset()
        run(*["search"] * 4)


@pytest.mark.parametrize("nonsense", [1, 0, -3, "5", 2.5, True])
def test_nonsense_is_refused(nonsense: Any) -> None:
    with pytest.raises(ValueError, match="repeats"):
        LoopGuard(nonsense)
