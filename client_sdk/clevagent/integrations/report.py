"""What the integrations share: they keep quiet, time calls across two callbacks, and number the steps they tell of."""

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
from clevagent.log import once

F = TypeVar("F", bound=Callable[..., Any])
# Of calls whose end never came, so many are kept, and of a message so many characters.
MAX_OPEN, MAX_MESSAGE_LENGTH = 1000, 200
# Streams move many times a second; saying so this often, in seconds, is enough for every progress timeout.
STREAM_PACE = 2.0

_steps = itertools.count(1)


def quiet(function: F) -> F:
    """The same function or coroutine function, which logs what goes wrong inside instead of raising it."""

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as problem:
            once(f"clevagent: {function.__qualname__} failed: {problem!r}")

    @functools.wraps(function)
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        try:
            return await function(*args, **kwargs)
        except Exception as problem:
            once(f"clevagent: {function.__qualname__} failed: {problem!r}")

    return cast("F", awaited if inspect.iscoroutinefunction(function) else called)


def missing(what: str, package: str) -> ImportError:
    """What to raise where a framework is not installed."""
    return ImportError(f"{what} is not installed, and this integration needs it: pip install {package}")


@quiet
def step(text: str) -> None:
    """One step of the agent's work is done. Its number keeps it from looking like the same step said again."""
    with clevagent.iteration():
        clevagent.ping(message=f"{text} (step {next_step()})")


def next_step() -> int:
    return next(_steps)


def may_tell_contents() -> bool:
    """Whether texts of the agent's own may leave the machine, see `send_args` of `clevagent.init`."""
    client = clevagent._client
    return client is None or client.options.send_args


@quiet
def error(text: str, problem: object) -> None:
    """Something failed that the framework did not get over by itself, as far as can be seen."""
    clevagent.ping(status="error", message=f"{text}: {problem}"[:MAX_MESSAGE_LENGTH])


@quiet
def failed(what: str, problem: BaseException) -> None:
    error(f"{what} failed", f"{type(problem).__name__}: {problem}")


async def passed_on(
    messages: AsyncIterable[Any], saw: Callable[[Any], None], broke: Callable[[Exception], None]
) -> AsyncIterator[Any]:
    """The same messages, each shown to `saw` first; an error on the way is shown to `broke` and goes on.

    A program that leaves early closes the framework's stream with ours.
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


class Pace:
    """Says that a stream moves, at most once in STREAM_PACE seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said = -STREAM_PACE

    def moves(self) -> None:
        now = self._clock()
        if now - self._said >= STREAM_PACE:
            self._said = now
            clevagent.ping()


class Calls:
    """Tool calls that begin in one callback and end in another, told apart by a key of the framework's."""

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
        """Report the call; False for one whose beginning was not seen."""
        with self._lock:
            call = self._open.pop(key, None)
        if call is None:
            return False
        call.result = result
        call.end(None if ok else ToolFailedError())
        return True


class ToolFailedError(Exception):
    """Stands for what a tool raised, where a framework tells only that it did."""


def usage(*, run_id: Any = None, sdk: str | None = None, call_id: str | None = None, **tokens: Any) -> None:
    """Report the tokens of one model call, see `clevagent.log_usage`, unless it is counted already.

    `call_id` is the provider's id of the response. Where the framework does not tell it, `run_id` is the framework's
    own id of the call, and the call is left to the capture of `sdk`, e.g. "openai", if that one is installed.
    Without input and output it is left out: unknown is not zero.
    """
    if not (tokens.get("input_tokens") or tokens.get("output_tokens")):
        return
    if call_id is None and sdk is not None and capture.watches(sdk):
        return
    clevagent.log_usage(call_id=call_id or (str(run_id) if run_id else None), **tokens)
