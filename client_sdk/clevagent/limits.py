"""What limits a program's model calls, and where each limit applies: in a block, or in the whole process.

Needs no server. `capture` reports each model call before it is sent, and what it used; the program and the integrations
report tool calls.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from decimal import Decimal
from types import TracebackType
from typing import Any, TypeVar

from clevagent import prices
from clevagent.log import log
from clevagent.progress import hash_of
from clevagent.recent import Recent
from clevagent.recorder import unique_id

L = TypeVar("L", bound="Limit")
# Re-entrant, because a signal handler may interrupt a check.
_lock = threading.RLock()
_everywhere: list[Limit] = []
_here: ContextVar[tuple[Limit, ...]] = ContextVar("clevagent_limits", default=())
# The outermost limit of each open block.
_outermost: list[Limit] = []
# Ids of model calls whose use was counted: two observers may report one call.
_counted = Recent(2_000)
UNSET: Any = object()
# Whether a model call that is being reported was counted when it was sent; None if it was not captured.
_captured: ContextVar[bool | None] = ContextVar("clevagent_captured", default=None)


class Limit:
    """A limit for the model calls made in a block: `with limit:` or `async with limit:`.

    It covers the block's thread and the asyncio tasks started in it. A thread that no block surrounds counts towards
    the outermost limit that is open, if there is exactly one. `clevagent.guard(limit)` covers the whole process.
    """

    # Whether to tell it about tool calls, whose hashes take time.
    reads_tools = False

    def check(self) -> None:
        """Raise a `clevagent.Stop` if the next model call must not be sent."""

    def starts_call(self, messages: Any) -> None:
        """A model call with these messages is about to be sent."""

    def uses(self, usd: Decimal | None) -> None:
        """A model call used this many US dollars; None if its price is unknown."""

    def uses_tool(self, name: str, args_hash: str, result_hash: str) -> None:
        """A tool call ended. A hash is empty if the value is unknown."""

    def __enter__(self: L) -> L:
        watch_models()
        if not _here.get():
            _outermost.append(self)
        _here.set((*_here.get(), self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _here.set(_without_last(_here.get(), self))
        if not _here.get() and self in _outermost:
            _outermost.remove(self)

    async def __aenter__(self: L) -> L:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)


def watch_models() -> None:
    """Ask before each model call from here on."""
    try:
        from clevagent import capture  # not before a program needs it

        capture.install()
    except Exception:
        log.exception("could not start capturing model calls")


def apply_everywhere(limit: Limit) -> None:
    """Apply a limit to the whole process, until `remove`."""
    with _lock:
        if not any(limit is known for known in _everywhere):
            _everywhere.append(limit)


def applies_everywhere(condition: Callable[[Limit], bool]) -> bool:
    """Whether such a limit applies to the whole process."""
    return any(condition(limit) for limit in _everywhere)


def remove(limit: Limit) -> None:
    with _lock:
        _everywhere[:] = [known for known in _everywhere if known is not limit]


def active() -> list[Limit]:
    """The limits that apply here, each once."""
    around = _here.get() or (tuple(_outermost) if len(_outermost) == 1 else ())
    return list({id(limit): limit for limit in (*_everywhere, *around)}.values())


def check() -> None:
    """Raise a `Stop` if one of the limits that apply here is exceeded."""
    with _lock:
        for limit in active():
            limit.check()


def start_call(messages: Any) -> None:
    """Check the limits and count one model call towards each. Raises a `Stop`; then nothing is counted."""
    with _lock:
        limits = active()
        for limit in limits:
            limit.check()
        for limit in limits:
            limit.starts_call(messages)


@contextlib.contextmanager
def captured(is_counted: bool) -> Iterator[None]:
    """What is reported in this block was captured. `is_counted`: it was counted as a call when it was sent."""
    token = _captured.set(is_counted)
    try:
        yield
    finally:
        _captured.reset(token)


def is_captured() -> bool:
    return _captured.get() is not None


def count_usage(entry: Mapping[str, Any], call_id: str | None) -> None:
    """What one model call used, once."""
    with _lock:
        limits = active()
        key = None if call_id is None else unique_id(call_id, dict(entry))
        if not limits or (key is not None and key in _counted):
            return
        if key is not None:
            _counted.add(key)
        usd = prices.price_of(entry)
        for limit in limits:
            if not _captured.get():
                limit.starts_call(None)
            limit.uses(usd)


def count_cost(usd: Decimal) -> None:
    """Money that the program reports, of no particular call."""
    with _lock:
        for limit in active():
            limit.uses(usd)


def count_tool(name: str, args: Any = UNSET, result: Any = UNSET) -> None:
    """A tool call ended. What is left out is unknown."""
    readers = [limit for limit in active() if limit.reads_tools]
    if readers:
        hashes = ["" if value is UNSET else hash_of(value) for value in (args, result)]
        with _lock:
            for limit in readers:
                limit.uses_tool(name, *hashes)


def locked() -> Any:
    """The lock of all limits' counts, for `with`."""
    return _lock


def _without_last(limits: tuple[Limit, ...], limit: Limit) -> tuple[Limit, ...]:
    for place in range(len(limits) - 1, -1, -1):
        if limits[place] is limit:
            return limits[:place] + limits[place + 1 :]
    return limits


def _after_fork() -> None:
    """Reset in a forked child: another thread of the parent may have held the lock."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
