"""What a program asked for, or handles, is no failure; what nobody handles is."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from bdb import BdbQuit
from collections.abc import Iterator
from typing import Any

import celery.exceptions
import clevagent
import click
import pytest
from clevagent.crash import CrashHooks
from clevagent.failures import RECOVERY_TIME, is_purposeful
from clevagent.testing import FakeServer

from tests.client_sdk.wire import Agent, Server


class Cancelled(BaseException):
    """As trio's."""


class PanicException(BaseException):
    """As pyo3's: Rust code of a library panicked."""


def of(module: str, name: str, base: type[BaseException] = Exception) -> BaseException:
    """An exception of a package that is not installed here."""
    kind: type[BaseException] = type(name, (base,), {"__module__": module})
    return kind()


PURPOSEFUL = [
    KeyboardInterrupt(),
    GeneratorExit(),
    SystemExit(),
    SystemExit(0),
    asyncio.CancelledError(),
    concurrent.futures.CancelledError(),
    Cancelled(),
    BaseExceptionGroup("", [asyncio.CancelledError(), SystemExit(0)]),
    # A handler of SIGTERM or SIGINT exits like this.
    SystemExit(143),
    SystemExit(130),
    BdbQuit(),
    # Try again, wait for a person, skip or stop, in the words of a framework.
    celery.exceptions.Retry(),
    celery.exceptions.Ignore(),
    celery.exceptions.Reject(),
    click.exceptions.Exit(0),
    click.Abort(),
    of("langgraph.errors", "GraphInterrupt", type("GraphBubbleUp", (Exception,), {"__module__": "langgraph.errors"})),
    of("pydantic_ai.exceptions", "ModelRetry"),
    of("airflow.exceptions", "AirflowSkipException"),
    of("dramatiq.errors", "Retry"),
    of("huey.exceptions", "CancelExecution"),
    of("tenacity", "TryAgain"),
    of("asyncio.queues", "QueueShutDown"),
    of("queue", "ShutDown"),
    of("anyio", "EndOfStream"),
    of("temporalio.exceptions", "CancelledError"),
    of("temporalio.workflow", "ContinueAsNewError", BaseException),
]
FAILURES = [
    ValueError("x"),
    SystemExit(1),
    SystemExit("no such file"),
    TimeoutError(),
    ExceptionGroup("", [ValueError("x")]),
    BaseExceptionGroup("", [asyncio.CancelledError(), ValueError("x")]),
    SystemExit(137),
    PanicException("index out of bounds"),
    click.exceptions.Exit(1),
    celery.exceptions.MaxRetriesExceededError(),
    celery.exceptions.SoftTimeLimitExceeded(),
    # Of the same name, but nobody's framework.
    of("bot.errors", "Retry"),
    of("bot.errors", "Ignore"),
    of("tenacity", "RetryError"),
    of("langgraph.errors", "GraphRecursionError"),
]


@pytest.mark.parametrize("error", PURPOSEFUL, ids=repr)
def test_what_was_asked_for_is_no_failure(error: BaseException) -> None:
    assert is_purposeful(error)
    server = Server()
    agent = Agent(server)
    agent.client.failed("nightly", error)
    agent.client.crashed(error, "in task nightly")
    with contextlib.suppress(BaseException), agent.client.tool("search"):
        raise error
    agent.let_pass(120)
    assert {beat["status"] for beat in server.order} == {"ok"}
    (call,) = [call for beat in server.order for call in beat.get("tool_call_log", [])]
    assert call["ok"] is True


@pytest.mark.parametrize("error", FAILURES, ids=repr)
def test_what_nobody_handles_is_a_failure(error: BaseException) -> None:
    assert not is_purposeful(error)
    server = Server()
    agent = Agent(server)
    agent.client.failed("nightly", error)
    agent.let_pass(RECOVERY_TIME + 1)
    assert [beat["status"] for beat in server.order] == ["ok", "error"]
    assert server.order[-1]["message"].startswith("nightly failed: ")


def test_progress_takes_a_failure_back() -> None:
    server = Server()
    agent = Agent(server)
    agent.step()
    for _ in range(20):  # each attempt fails once, then works
        agent.client.failed("nightly", ValueError("not yet"))
        agent.let_pass(RECOVERY_TIME - 1)
        agent.client.ping()
    agent.let_pass(120)
    assert {beat["status"] for beat in server.order} == {"ok"}


def test_panic_of_a_library_is_a_crash() -> None:
    """It is no ordinary exception, so the goodbye at the end of the program would be all that is heard."""
    server = Server()
    agent = Agent(server)
    agent.client.crashed(PanicException("index out of bounds"), "")
    agent.let_pass(1)
    assert [beat["message"] for beat in server.order] == ["CRASH: PanicException: index out of bounds"]


def test_failing_again_and_again_is_a_failure() -> None:
    server = Server()
    agent = Agent(server)
    for number in range(30):
        agent.client.failed("nightly", ValueError(number))
        agent.let_pass(1)
    errors = [beat["message"] for beat in server.order if beat["status"] == "error"]
    assert errors == ["nightly failed: ValueError: 0", "nightly failed: ValueError: 15"]


def test_own_error_report_is_immediate() -> None:
    server = Server()
    agent = Agent(server)
    agent.step()
    agent.client.ping("error", "out of paper")
    agent.let_pass(1)
    assert [beat["status"] for beat in server.order] == ["ok", "error"]


@pytest.fixture
def agent(server: FakeServer) -> Iterator[FakeServer]:
    clevagent.init(server.key, "bot", endpoint=server.url, auto_cost=False, report_crashes=False)
    yield server
    clevagent.shutdown()


def errors_in(server: FakeServer) -> list[str]:
    assert clevagent.flush()
    return [beat["message"] for beat in server.beats if beat["status"] == "error"]


def test_retry_that_worked_is_no_failure(agent: FakeServer) -> None:
    outcomes = iter([ValueError("not yet"), ValueError("not yet"), None])

    @clevagent.monitor("nightly")
    def attempt() -> None:
        if problem := next(outcomes):
            raise problem

    for _ in range(3):
        with contextlib.suppress(ValueError):
            attempt()
    assert errors_in(agent) == []


def test_other_way_that_worked_is_no_failure(agent: FakeServer) -> None:
    @clevagent.monitor
    def primary() -> None:
        raise ValueError("overloaded")

    @clevagent.monitor
    def second() -> str:
        return "answer"

    try:
        primary()
    except ValueError:
        assert second() == "answer"
    assert errors_in(agent) == []


def test_left_generator_is_no_failure(agent: FakeServer) -> None:
    @clevagent.monitor
    def pages() -> Iterator[int]:
        yield from range(10)

    left = pages()
    assert next(left) == 0
    left.close()  # type: ignore[attr-defined]
    assert errors_in(agent) == []


def test_timeout_around_a_task_is_no_failure(agent: FakeServer) -> None:
    @clevagent.monitor
    async def slow() -> None:
        await asyncio.sleep(60)

    async def impatient() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(slow(), 0.01)

    asyncio.run(impatient())
    assert errors_in(agent) == []


@pytest.fixture
def reported() -> Iterator[list[str]]:
    found: list[str] = []
    hooks = CrashHooks(lambda error, where: found.append(f"{type(error).__name__} {where}"))
    hooks.watch_asyncio()
    yield found
    hooks.restore()


def told(loop: asyncio.AbstractEventLoop, **context: Any) -> None:
    loop.call_exception_handler({"message": "Task exception was never retrieved", "exception": ValueError(), **context})
    loop.close()


def test_own_loop_handler_handles(reported: list[str]) -> None:
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)
    told(loop, future=None)
    assert reported == []


@pytest.mark.parametrize(("part", "count"), [("transport", 0), ("asyncgen", 0), ("future", 1), ("handle", 1)])
def test_closing_connections_are_no_crash(reported: list[str], part: str, count: int) -> None:
    told(asyncio.new_event_loop(), **{part: None})
    assert len(reported) == count
