"""Streams that say what they used piece by piece: the last word counts, and if there is none, what was said so far."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Callable

from clevagent.log import log

MAX_OPEN = 1000
Tell = Callable[[dict[str, Any]], None]


@dataclass
class _Stream:
    tell: Tell
    is_over: Callable[[], bool]
    usage: dict[str, Any] = field(default_factory=dict)


# Re-entrant: a signal's handler may end the program while a stream is being read.
_lock = threading.RLock()
_open: dict[Hashable, _Stream] = {}


def hold(response: Any, usage: dict[str, Any], tell: Tell) -> None:
    """Keep what the stream of this HTTP response has said; newer counts replace older ones.

    `tell` is called with all of it once: by `finish`, or by `settle` after the response was closed or dropped; so it
    must not itself hold the response.
    """
    key = weakref.ref(response)
    keep(key, usage, tell, lambda: _is_over(key))


def keep(key: Hashable, usage: dict[str, Any], tell: Tell, is_over: Callable[[], bool]) -> None:
    """As `hold`, for a stream that is known by `key`."""
    if key not in _open:
        settle()
    with _lock:
        stream = _open.setdefault(key, _Stream(tell, is_over))
        stream.is_over = is_over
        stream.usage.update({name: value for name, value in usage.items() if value is not None})
        oldest = next(iter(_open)) if len(_open) > MAX_OPEN else None
    if oldest is not None:
        _tell(oldest)


def finish(key: Any) -> None:
    """The stream has said its last: tell it, unless that was done before. `key`: also the HTTP response itself."""
    _tell(key if isinstance(key, (str, weakref.ref)) else weakref.ref(key))


def settle(everything: bool = False) -> None:
    """Tell the streams that are over without having said so; `everything`: all."""
    with _lock:
        over = [key for key, stream in _open.items() if everything or stream.is_over()]
    for key in over:
        _tell(key)


def _tell(key: Hashable) -> None:
    with _lock:
        stream = _open.pop(key, None)
    if stream is None:
        return
    try:
        stream.tell(stream.usage)
    except Exception:
        log.warning("clevagent: a model call was not counted", exc_info=True)


def _is_over(response: weakref.ref[Any]) -> bool:
    found = response()
    return found is None or bool(getattr(found, "is_closed", False))


def _after_fork() -> None:
    """In a forked child: open streams are the parent's to count, and its lock may be held for ever."""
    global _lock
    _lock = threading.RLock()
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
