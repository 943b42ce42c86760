"""Declared progress: iterations, tool calls and waits. Each measures the block it encloses."""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from types import TracebackType
from typing import Any, TypeVar, cast

from clevagent.failures import is_purposeful
from clevagent.log import log

F = TypeVar("F", bound=Callable[..., Any])
_NOTHING = object()


class Span:
    """A block with a start and an end, used as `with`, `async with` or a decorator."""

    def __enter__(self: S) -> S:
        _run_safely(self.begin)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _run_safely(lambda: self.end(error))

    async def __aenter__(self: S) -> S:
        _run_safely(self.begin)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _run_safely(lambda: self.end(error))

    def begin(self) -> None:
        """The block starts."""

    def end(self, error: BaseException | None) -> None:
        """The block ends, with the exception that it raised or None."""


S = TypeVar("S", bound=Span)


def _run_safely(report: Callable[[], None]) -> None:
    """Never let our own error replace the block's result or exception."""
    try:
        report()
    except Exception:
        log.exception("could not report progress")


OpenSpan = Callable[["tuple[Any, ...]", "dict[str, Any]"], Span]
Done = Callable[[Any, Any], None]


def wrap_calls(function: F, span: OpenSpan, done: Done) -> F:
    """Wrap each call of the function in a span. Works with plain, async and generator functions, sync or async.

    `done` receives the span and the call's return value.
    """
    import inspect  # slow to import, and only needed for decorators

    wrapper: Callable[..., Any]
    if inspect.iscoroutinefunction(function):
        wrapper = _coroutine_wrapper(function, span, done)
    elif inspect.isasyncgenfunction(function):
        wrapper = _async_generator_wrapper(function, span)
    elif inspect.isgeneratorfunction(function):
        wrapper = _generator_wrapper(function, span)
    else:
        wrapper = _plain_wrapper(function, span, done)
    return cast("F", functools.wraps(function)(wrapper))


def _plain_wrapper(function: Callable[..., Any], span: OpenSpan, done: Done) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        with span(args, kwargs) as running:
            result = function(*args, **kwargs)
            done(running, result)
            return result

    return call


def _coroutine_wrapper(function: Callable[..., Any], span: OpenSpan, done: Done) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        with span(args, kwargs) as running:
            result = await function(*args, **kwargs)
            done(running, result)
            return result

    return call


def _generator_wrapper(function: Callable[..., Any], span: OpenSpan) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        with span(args, kwargs):
            return (yield from function(*args, **kwargs))

    return call


def _async_generator_wrapper(function: Callable[..., Any], span: OpenSpan) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        with span(args, kwargs):
            async for item in function(*args, **kwargs):
                yield item

    return call


class Iteration(Span):
    """One iteration of the agent's loop. Ending without an exception is progress."""

    def __init__(self, began: Callable[[], None], ended: Callable[[float, BaseException | None], None]) -> None:
        self._began, self._ended = began, ended
        self._at = 0.0

    def begin(self) -> None:
        self._at = time.perf_counter()
        self._began()

    def end(self, error: BaseException | None) -> None:
        self._ended((time.perf_counter() - self._at) * 1000, error)


class ToolCall(Span):
    """One tool call. Set `result` so that repeated results can be recognised."""

    def __init__(
        self, began: Callable[[ToolCall], None], ended: Callable[[ToolCall], None], name: str, args: Any
    ) -> None:
        self._began, self._ended = began, ended
        self.name, self.args = name, args
        self.result: Any = _NOTHING
        self.ms = 0.0
        self.ok = True
        self._at = 0.0

    @property
    def has_result(self) -> bool:
        return self.result is not _NOTHING

    def begin(self) -> None:
        self._at = time.perf_counter()
        self._began(self)

    def end(self, error: BaseException | None) -> None:
        self.ms = (time.perf_counter() - self._at) * 1000
        self.ok = error is None or is_purposeful(error)
        self._ended(self)


class Waiting(Span):
    """A declared wait. It ends with the `with` block; as a plain call, with the next progress."""

    def __init__(self, over: Callable[[], None]) -> None:
        self._over = over

    def end(self, error: BaseException | None) -> None:
        self._over()


def hash_of(value: Any) -> str:
    """Return 16 hex digits that are equal for equal values in every process."""
    try:
        text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=repr)
    except Exception:  # a foreign __repr__ may raise anything
        text = object.__repr__(type(value))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def summary_of(value: Any) -> str:
    """Return the arguments as readable text: `query=release notes, page=2`."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return ", ".join(f"{name}={item}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value)
    return "" if value is None else str(value)


def arguments_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return a decorated function's arguments in the form of tool arguments."""
    return {**{str(place): value for place, value in enumerate(args)}, **kwargs}


def parse_until(until: Any, now: datetime) -> datetime | None:
    """Convert a datetime (naive means local) or a number of seconds from now; None for anything else."""
    try:
        if isinstance(until, datetime):
            return until.astimezone(timezone.utc)
        if isinstance(until, timedelta):
            return now + until
        return now + timedelta(seconds=max(0.0, float(until)))
    except (TypeError, ValueError, OverflowError):
        return None
