"""Progress that the program declares: iterations, tools, waits. Each measures what it encloses."""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from types import TracebackType
from typing import Any, TypeVar

from clevagent.log import log

F = TypeVar("F", bound=Callable[..., Any])
_NOTHING = object()


class Span:
    """Something with a beginning and an end: `with`, `async with`, or a decorator of any kind of function."""

    def __enter__(self: S) -> S:
        _guarded(self.begin)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _guarded(lambda: self.end(error))

    async def __aenter__(self: S) -> S:
        _guarded(self.begin)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _guarded(lambda: self.end(error))

    def begin(self) -> None:
        """The work begins."""

    def end(self, error: BaseException | None) -> None:
        """The work is done, or ended with an error, which goes on its way."""


S = TypeVar("S", bound=Span)


def _guarded(report: Callable[[], None]) -> None:
    """A mistake of ours must not take the place of the work's own result or error."""
    try:
        report()
    except Exception:
        log.exception("work could not be reported")


def around(function: F, span: Callable[[tuple[Any, ...], dict[str, Any]], Span], done: Callable[[Any, Any], None]) -> F:
    """The function with a span of its own around each call: plain, async, generator or async generator.

    `done` gets the span and what the call returned.
    """

    import inspect  # slow to import, and only needed for decorators

    @functools.wraps(function)
    def plain(*args: Any, **kwargs: Any) -> Any:
        with span(args, kwargs) as running:
            result = function(*args, **kwargs)
            done(running, result)
            return result

    @functools.wraps(function)
    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        with span(args, kwargs) as running:
            result = await function(*args, **kwargs)
            done(running, result)
            return result

    @functools.wraps(function)
    def generator(*args: Any, **kwargs: Any) -> Any:
        with span(args, kwargs):
            return (yield from function(*args, **kwargs))

    @functools.wraps(function)
    async def stream(*args: Any, **kwargs: Any) -> Any:
        with span(args, kwargs):
            async for item in function(*args, **kwargs):
                yield item

    if inspect.iscoroutinefunction(function):
        return coroutine  # type: ignore[return-value]
    if inspect.isasyncgenfunction(function):
        return stream  # type: ignore[return-value]
    return generator if inspect.isgeneratorfunction(function) else plain  # type: ignore[return-value]


class Iteration(Span):
    """One turn of the agent's loop. Its end without an error is progress."""

    def __init__(self, began: Callable[[], None], ended: Callable[[float, BaseException | None], None]) -> None:
        self._began, self._ended = began, ended
        self._at = 0.0

    def begin(self) -> None:
        self._at = time.perf_counter()
        self._began()

    def end(self, error: BaseException | None) -> None:
        self._ended((time.perf_counter() - self._at) * 1000, error)


class ToolCall(Span):
    """One tool call. Set `result`, if there is one, so that repeated results can be told from new ones."""

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
        self.ok = error is None
        self._ended(self)


class Waiting(Span):
    """A declared wait. As a context manager it ends with the block; as a plain call with the next progress."""

    def __init__(self, over: Callable[[], None]) -> None:
        self._over = over

    def end(self, error: BaseException | None) -> None:
        self._over()


def hash_of(value: Any) -> str:
    """16 hex digits that are the same for equal values in every process."""
    try:
        text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=repr)
    except Exception:  # whatever a stranger's __repr__ does
        text = object.__repr__(type(value))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def summary_of(value: Any) -> str:
    """The arguments as a person would read them: `query=release notes, page=2`."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return ", ".join(f"{name}={item}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value)
    return "" if value is None else str(value)


def arguments_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a decorated function was called with, as the arguments of a tool."""
    return {**{str(place): value for place, value in enumerate(args)}, **kwargs}


def moment_of(until: Any, now: datetime) -> datetime | None:
    """A time from a datetime (a naive one is local), or from seconds from now; None for neither."""
    try:
        if isinstance(until, datetime):
            return until.astimezone(timezone.utc)
        if isinstance(until, timedelta):
            return now + until
        return now + timedelta(seconds=max(0.0, float(until)))
    except (TypeError, ValueError, OverflowError):
        return None
