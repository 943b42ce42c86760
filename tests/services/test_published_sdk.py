"""The stand-in for the published SDK sends what the SDK sends, to the byte, and has its faults."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.alerts.receiver import Receiver, responds
from tests.flows.installation import PATIENCE, ROOT, wait_until
from tests.live import Program

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("published_sdk")]
FINE = b'{"agent_id": 7, "status": "ok"}'
Start = Callable[..., Program]


@pytest.fixture
def server() -> Iterator[Receiver]:
    with Receiver(answer=responds("200 OK", FINE)) as running:
        yield running


@pytest.fixture
def start(server: Receiver, tmp_path: Path) -> Iterator[Start]:
    started: list[Program] = []

    def start(*options: str) -> Program:
        """The program after its first beat and with its handlers set; by default the next beat follows in a minute."""
        fixed = ["--endpoint", server.url(""), "--api-key", "cv_key", "--agent", "bot"]
        argv = [sys.executable, str(ROOT / "tests" / "published_sdk.py"), *fixed, *options]
        started.append(Program(tmp_path / "log", *argv))
        came(server, 1)
        wait_until(lambda: started[-1].lines("Initialized"), "init() is over")
        return started[-1]

    yield start
    for program in started:
        program.end()


def came(server: Receiver, count: int) -> list[bytes]:
    """The bodies, once so many requests have arrived."""
    wait_until(lambda: len(server.requests) >= count, f"{count} requests: {server.requests}")
    return [request.body for request in server.requests]


def last(server: Receiver, count: int) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(came(server, count)[-1])
    return body


def test_first_beat_is_a_name_and_a_status(server: Receiver, start: Start) -> None:
    start()
    (request,) = server.requests
    assert request.body == b'{"agent": "bot", "status": "ok"}'
    assert request.line == "POST /api/v1/heartbeat HTTP/1.1"
    assert request.headers["x-api-key"] == "cv_key"
    assert request.headers["content-type"] == "application/json"


def test_ping_sends_counters_without_empty_fields(server: Receiver, start: Start) -> None:
    program = start("--agent-type", "openai")
    program.tell("cost 500 0.25", "iteration 3", "tool fetch", "tool search q=x", "ping page 1 done")
    calls = '[{"name": "fetch"}, {"name": "search", "args": "q=x"}]'
    expected = (
        '{"agent": "bot", "status": "ok", "message": "page 1 done", "tokens_used": 500, "cost_usd": 0.25, '
        f'"iteration_count": 3, "tool_call_log": {calls}, "agent_type": "openai"}}'
    )
    assert came(server, 2)[1].decode() == expected


def test_sums_are_sent_once_but_counts_repeat(server: Receiver, start: Start) -> None:
    program = start()
    program.tell("cost 5 0.1", "iteration 3", *[f"prompt {number}" for number in range(6)], "ping a", "ping b")
    first, second = (json.loads(body) for body in came(server, 3)[1:])
    assert (first["tokens_used"], second.get("tokens_used")) == (5, None)
    assert (first["iteration_count"], second["iteration_count"]) == (3, 3)
    assert first["prompt_hashes"] == second["prompt_hashes"]
    assert [len(text) for text in first["prompt_hashes"]] == [16] * 5


def test_last_twenty_calls_with_truncated_arguments(server: Receiver, start: Start) -> None:
    start().tell(*[f"tool t{number} {'x' * 300}" for number in range(25)], "ping")
    calls = last(server, 2)["tool_call_log"]
    assert [call["name"] for call in calls] == [f"t{number}" for number in range(5, 25)]
    assert {len(call["args"]) for call in calls} == {200}


def test_background_beats_have_no_message(server: Receiver, start: Start) -> None:
    start("--interval", "0.2")
    assert set(came(server, 4)) == {b'{"agent": "bot", "status": "ok"}'}


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable", "401 Unauthorized"])
def test_rejected_beat_is_retried_once_then_lost(server: Receiver, start: Start, status: str) -> None:
    program = start()
    server.answer = responds(status, b"{}", "Retry-After: 60")
    program.tell("cost 5 0.1", "ping one")
    first, second = came(server, 3)[1:]
    assert first == second
    server.answer = responds("200 OK", FINE)
    program.tell("ping two")
    assert "tokens_used" not in last(server, 4)


def test_first_sigterm_only_says_goodbye(server: Receiver, start: Start) -> None:
    program = start("--interval", "0.2")
    program.process.send_signal(signal.SIGTERM)
    goodbye = {"agent": "bot", "status": "shutdown", "message": "Agent shutting down gracefully"}
    wait_until(lambda: json.loads(server.requests[-1].body) == goodbye, "goodbye")
    assert program.is_running
    wait_until(lambda: not threads_beat(server), "no beats any more")
    program.process.send_signal(signal.SIGTERM)
    assert program.process.wait(PATIENCE) == -signal.SIGTERM


def threads_beat(server: Receiver) -> bool:
    """Whether another beat arrives within two intervals."""
    before = len(server.requests)
    try:
        wait_until(lambda: len(server.requests) > before, "another beat", seconds=0.5)
    except AssertionError:
        return False
    return True


def test_crash_reports_its_traceback(server: Receiver, start: Start) -> None:
    program = start()
    program.tell("crash no such page")
    crash = last(server, 2)
    assert (crash["status"], crash["message"]) == ("error", "CRASH: RuntimeError: no such page")
    custom = json.loads(crash["custom_data"])
    assert custom["crash"] is True
    assert "in obey" in custom["traceback"]
    assert program.process.wait(PATIENCE) == 1
    assert program.lines("RuntimeError: no such page")


def test_end_of_script_sends_nothing(server: Receiver, start: Start) -> None:
    program = start()
    assert program.process.stdin
    program.process.stdin.close()
    assert program.process.wait(PATIENCE) == 0
    assert len(server.requests) == 1


def warns(warning: str) -> Any:
    return responds("200 OK", json.dumps({"agent_id": 7, "status": "ok", "warning": warning, "reason": "why"}).encode())


@pytest.mark.parametrize(("warning", "option"), [("loop_detected", "on-loop"), ("cost_exceeded", "on-cost-exceeded")])
@pytest.mark.parametrize("action", ["stop", "force_stop"])
def test_warning_ends_the_process_if_configured(
    server: Receiver, start: Start, warning: str, option: str, action: str
) -> None:
    program = start(f"--{option}", action)
    server.answer = warns(warning)
    program.tell("ping")
    assert program.process.wait(PATIENCE) == 1
    assert program.lines(f"{warning}: why")
    assert len(server.requests) == 2


def test_warning_is_printed_for_every_answer(server: Receiver, start: Start) -> None:
    program = start()
    server.answer = warns("loop_detected")
    program.tell("ping", "ping")
    wait_until(lambda: len(program.lines("loop_detected: why")) == 2, "printed twice")
    assert program.is_running
