"""Reports uncaught exceptions: on the main thread, in other threads and in asyncio tasks.

Each hook calls the previous one and is removed only while it is still installed, so no other library's hook gets lost.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from clevagent.log import log

# Called with the exception and where it happened, in words ("" on the main thread).
Report = Callable[[BaseException, str], None]
_Loop = Any


class CrashHooks:
    """Installed hooks. asyncio's follows once the program has imported asyncio."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._previous_main = sys.excepthook
        self._previous_thread = threading.excepthook
        self._previous_loop: Callable[..., Any] | None = None
        # RunnerState as attributes because every access to a bound method creates a new object.
        self._main: Callable[..., Any] = self._on_main
        self._thread: Callable[..., Any] = self._on_thread
        self._loop: Callable[..., Any] = self._loop_handler()
        sys.excepthook = self._main
        threading.excepthook = self._thread

    def watch_asyncio(self) -> None:
        """Install asyncio's hook once the program has imported it. Importing it ourselves would slow down startup."""
        loops = _event_loop_class()
        if self._previous_loop is None and loops is not None:
            self._previous_loop = loops.call_exception_handler
            loops.call_exception_handler = self._loop

    def restore(self) -> None:
        """Remove the hooks that are still ours."""
        if sys.excepthook is self._main:
            sys.excepthook = self._previous_main
        if threading.excepthook is self._thread:
            threading.excepthook = self._previous_thread
        loops = _event_loop_class()
        if loops is not None and loops.call_exception_handler is self._loop:
            loops.call_exception_handler = self._previous_loop
        self._previous_loop = None

    def _on_main(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        self._safely_report(error if error.__traceback__ or trace is None else error.with_traceback(trace), "")
        self._previous_main(kind, error, trace)

    def _on_thread(self, args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and args.exc_type is not SystemExit:
            self._safely_report(args.exc_value, f"in thread {args.thread.name if args.thread else '?'}")
        self._previous_thread(args)

    def _loop_handler(self) -> Callable[..., Any]:
        def call_exception_handler(loop: _Loop, context: dict[str, Any]) -> Any:
            error = context.get("exception")
            if isinstance(error, BaseException) and _is_unhandled(loop, context):
                self._safely_report(error, _location(context))
            return self._previous_loop(loop, context) if self._previous_loop else None

        return call_exception_handler

    def _safely_report(self, error: BaseException, where: str) -> None:
        try:
            self._report(error, where)
        except Exception:
            log.exception("could not report a crash")


def _event_loop_class() -> Any:
    # Another thread, or the code that a signal interrupted, may be in the middle of importing asyncio.
    return getattr(sys.modules.get("asyncio.base_events"), "BaseEventLoop", None)


def _is_unhandled(loop: _Loop, context: dict[str, Any]) -> bool:
    """Whether nobody handles it: not the program's own handler, nor a connection that closes because of it."""
    has_handler = getattr(loop, "get_exception_handler", lambda: None)() is not None
    return not has_handler and any(name in context for name in ("task", "future", "handle"))


def _location(context: dict[str, Any]) -> str:
    work: Any = context.get("task") or context.get("future")
    name = work.get_name() if hasattr(work, "get_name") else None
    return f"in task {name}" if name else "in the event loop"
