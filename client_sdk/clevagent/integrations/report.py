"""Shared by the integrations: error handling, calls that span two callbacks, and numbered steps."""

from __future__ import annotations

import functools
import inspect
import itertools
import threading
import time
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any, Callable, TypeVar, cast

import clevagent
from clevagent import capture
from clevagent.failures import is_purposeful
from clevagent.log import warn_once
from clevagent.redact import text_of

F = TypeVar("F", bound=Callable[..., Any])
# Maximum open calls to remember, and maximum characters of a message.
MAX_OPEN, MAX_MESSAGE_LENGTH = 1000, 200
# Seconds between reports of a moving stream; often enough for every progress timeout.
STREAM_INTERVAL = 2.0

_steps = itertools.count(1)


def quiet(function: F) -> F:
    """Wrap a function or coroutine function so that it logs exceptions instead of raising them."""

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as problem:
            warn_once(f"clevagent: {function.__qualname__} failed: {problem!r}")

    @functools.wraps(function)
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        try:
            return await function(*args, **kwargs)
        except Exception as problem:
            warn_once(f"clevagent: {function.__qualname__} failed: {problem!r}")

    return cast("F", awaited if inspect.iscoroutinefunction(function) else called)


def not_installed(what: str, package: str) -> ImportError:
    """Return the error to raise if a framework is not installed."""
    return ImportError(f"{what} is not installed, and this integration needs it: pip install {package}")


@quiet
def step(text: str) -> None:
    """Report a completed step. Its number keeps equal texts from looking like a repetition."""
    with clevagent.iteration():
        clevagent.ping(message=f"{text} (step {next_step()})")


def next_step() -> int:
    return next(_steps)


def may_send_contents() -> bool:
    """Whether the agent's texts may leave the machine; see `send_args` of `clevagent.init`."""
    client = clevagent._client
    return client is None or client.options.send_args


@quiet
def error(text: str, problem: object) -> None:
    """Report an error, unless the framework or the program recovers from it."""
    client = clevagent._client
    if client is not None:
        client.recorder.fail(f"{text}: {text_of(problem)}"[:MAX_MESSAGE_LENGTH])


@quiet
def failed(what: str, problem: BaseException) -> None:
    """Report an exception that ended something, unless somebody asked for it."""
    if not is_purposeful(problem):
        error(f"{what} failed", f"{type(problem).__name__}: {text_of(problem)}")


async def watch_messages(
    messages: AsyncIterable[Any], saw: Callable[[Any], None], broke: Callable[[Exception], None]
) -> AsyncIterator[Any]:
    """Yield the same messages, calling `saw` for each, and `broke` for an exception, which is re-raised.

    If the program leaves early, the framework's stream is closed as well.
    """
    try:
        async for message in messages:
            saw(message)
            yield message
    except Exception as problem:
        broke(problem)
        raise
    finally:
        close = getattr(messages, "aclose", None)
        if close is not None:
            await close()


class StreamProgress:
    """Reports a moving stream, at most once every STREAM_INTERVAL seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said = -STREAM_INTERVAL

    def report(self) -> None:
        now = self._clock()
        if now - self._said >= STREAM_INTERVAL:
            self._said = now
            clevagent.ping()


class OpenCalls:
    """Tool calls that start in one callback and end in another, matched by the framework's key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[Any, Any] = {}

    def begin(self, key: Any, name: str, args: Any) -> None:
        call = clevagent.tool(name, args)
        with self._lock:
            if len(self._open) >= MAX_OPEN:
                del self._open[next(iter(self._open))]
            self._open[key] = call
        call.begin()

    def end(self, key: Any, result: Any = None, *, ok: bool = True) -> bool:
        """Report the call. Return False if its start was not seen."""
        with self._lock:
            call = self._open.pop(key, None)
        if call is None:
            return False
        call.result = result
        call.end(None if ok else ToolFailedError())
        return True


class ToolFailedError(Exception):
    """Stands in for a tool's exception if the framework does not pass it on."""


def usage(*, run_id: Any = None, sdk: str | None = None, call_id: str | None = None, **tokens: Any) -> None:
    """Report the tokens of one model call, unless it is already counted; see `clevagent.log_usage`.

    `call_id` is the provider's response id. Without it, the call is left to the automatic capture of `sdk`, such as
    "openai", if active, and otherwise reported under `run_id`, the framework's own id. A call without input and output
    is skipped: unknown is not zero.
    """
    if not (tokens.get("input_tokens") or tokens.get("output_tokens")):
        return
    if call_id is None and sdk is not None and capture.watches(sdk):
        return
    clevagent.log_usage(call_id=call_id or (str(run_id) if run_id else None), **tokens)
