"""A lock that signal handlers can work with."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class DeferringLock:
    """A re-entrant lock that postpones a signal handler's work until the code it interrupted has released the lock.

    A handler runs on top of the main thread's current code. If that code holds the lock, the handler must not wait for
    another thread that needs it: the wait could only end by timeout.
    """

    def __init__(self) -> None:
        self._lock: Any = threading.RLock()
        self._deferred: list[Callable[[], None]] = []

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        while self._deferred and not self._is_held_here():
            self._deferred.pop(0)()

    def run_when_free(self, work: Callable[[], None]) -> None:
        """Run `work` now, or as soon as the current thread has released the lock."""
        if self._is_held_here():
            self._deferred.append(work)
        else:
            work()

    def _is_held_here(self) -> bool:
        # threading.Condition relies on the same method, so every implementation of RLock has it.
        return bool(self._lock._is_owned())
