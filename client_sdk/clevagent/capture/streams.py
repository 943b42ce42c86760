"""Streams that report usage in pieces. The last value counts, also if the stream is abandoned."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Callable

from clevagent.log import log

MAX_OPEN = 1000
ReportUsage = Callable[[dict[str, Any]], None]


@dataclass
class _Stream:
    report: ReportUsage
    is_over: Callable[[], bool]
    usage: dict[str, Any] = field(default_factory=dict)


# Re-entrant, because a signal handler may end the program while a stream is being read.
_lock = threading.RLock()
_open: dict[Hashable, _Stream] = {}


def track(response: Any, usage: dict[str, Any], report: ReportUsage) -> None:
    """Track the usage of this HTTP response's stream; newer counts replace older ones.

    `report` is called once with the result, by `finish`, or by `settle` after the response was closed or dropped. It
    must not hold a reference to the response.
    """
    key = weakref.ref(response)
    track_key(key, usage, report, lambda: _is_over(key))


def track_key(key: Hashable, usage: dict[str, Any], report: ReportUsage, is_over: Callable[[], bool]) -> None:
    """Like `track`, for a stream identified by `key`."""
    if key not in _open:
        settle()
    with _lock:
        stream = _open.setdefault(key, _Stream(report, is_over))
        stream.is_over = is_over
        stream.usage.update({name: value for name, value in usage.items() if value is not None})
        oldest = next(iter(_open)) if len(_open) > MAX_OPEN else None
    if oldest is not None:
        _report(oldest)


def finish(key: Any) -> None:
    """Report the usage of a completed stream, unless that was done before. `key` may be the HTTP response itself."""
    _report(key if isinstance(key, (str, weakref.ref)) else weakref.ref(key))


def settle(everything: bool = False) -> None:
    """Report the streams that ended silently, or with `everything`, all streams."""
    with _lock:
        over = [key for key, stream in _open.items() if everything or stream.is_over()]
    for key in over:
        _report(key)


def _report(key: Hashable) -> None:
    with _lock:
        stream = _open.pop(key, None)
    if stream is None:
        return
    try:
        stream.report(stream.usage)
    except Exception:
        log.warning("clevagent: a model call was not counted", exc_info=True)


def _is_over(reference: weakref.ref[Any]) -> bool:
    response = reference()
    return response is None or bool(getattr(response, "is_closed", False))


def _after_fork() -> None:
    """Reset in a forked child: open streams belong to the parent, and the copied lock may never be released."""
    global _lock
    _lock = threading.RLock()
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
