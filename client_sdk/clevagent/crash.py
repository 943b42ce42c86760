"""Sees exceptions that nobody caught: on the main thread, in other threads, in asyncio tasks.

Each hook calls the one it found, and is taken out only where it still stands: another library's hook is never lost.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from clevagent.log import log

# What was caught by nobody: the exception, and where, in words ("" on the main thread).
Report = Callable[[BaseException, str], None]
_Loop = Any


class Hooks:
    """Installed hooks. asyncio's is put in when the program has imported it."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._main_before = sys.excepthook
        self._thread_before = threading.excepthook
        self._loop_before: Callable[..., Any] | None = None
        # One object each: a bound method is a new one at every look.
        self._main: Callable[..., Any] = self._on_main
        self._thread: Callable[..., Any] = self._on_thread
        self._loop: Callable[..., Any] = self._handler_of_loops()
        sys.excepthook = self._main
        threading.excepthook = self._thread

    def watch_asyncio(self) -> None:
        """Put in asyncio's hook once the program has imported it; importing it for that would cost each agent."""
        loops = sys.modules.get("asyncio.base_events")
        if self._loop_before is None and loops is not None:
            self._loop_before = loops.BaseEventLoop.call_exception_handler
            loops.BaseEventLoop.call_exception_handler = self._loop

    def restore(self) -> None:
        """Take out the hooks that are still ours."""
        if sys.excepthook is self._main:
            sys.excepthook = self._main_before
        if threading.excepthook is self._thread:
            threading.excepthook = self._thread_before
        loops = sys.modules.get("asyncio.base_events")
        if loops is not None and loops.BaseEventLoop.call_exception_handler is self._loop:
            loops.BaseEventLoop.call_exception_handler = self._loop_before
        self._loop_before = None

    def _on_main(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        self._tell(error if error.__traceback__ or trace is None else error.with_traceback(trace), "")
        self._main_before(kind, error, trace)

    def _on_thread(self, args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and args.exc_type is not SystemExit:
            self._tell(args.exc_value, f"in thread {args.thread.name if args.thread else '?'}")
        self._thread_before(args)

    def _handler_of_loops(self) -> Callable[..., Any]:
        def call_exception_handler(loop: _Loop, context: dict[str, Any]) -> Any:
            error = context.get("exception")
            if isinstance(error, BaseException):
                self._tell(error, _where(context))
            return self._loop_before(loop, context) if self._loop_before else None

        return call_exception_handler

    def _tell(self, error: BaseException, where: str) -> None:
        try:
            self._report(error, where)
        except Exception:
            log.exception("a crash could not be reported")


def _where(context: dict[str, Any]) -> str:
    work: Any = context.get("task") or context.get("future")
    name = work.get_name() if hasattr(work, "get_name") else None
    return f"in task {name}" if name else "in the event loop"
