"""Optional SIGTERM and SIGINT handling: say goodbye, then do what the program would have done."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from clevagent.log import log

HANDLED = (signal.SIGTERM, signal.SIGINT)


class SignalHandlers:
    """Handlers that call `goodbye`, then the previous handler. Restored only where no one replaced them since."""

    def __init__(self, goodbye: Callable[[], None], run_when_safe: Callable[[Callable[[], None]], None]) -> None:
        self._goodbye, self._run_when_safe = goodbye, run_when_safe
        self._previous: dict[int, Any] = {}
        self._handler: Callable[[int, FrameType | None], Any] = self._on_signal
        try:
            for number in HANDLED:
                previous = signal.getsignal(number)
                if previous not in (None, signal.SIG_IGN):  # an ignored signal stays ignored
                    self._previous[number] = previous
                    signal.signal(number, self._handler)
        except ValueError:
            log.warning("handle_signals has no effect: init() was not called on the main thread")

    def restore(self) -> None:
        """Put the previous handlers back, except where the program has installed another one since."""
        for number, previous in self._previous.items():
            if signal.getsignal(number) is self._handler:
                signal.signal(number, previous)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        previous = self._previous[number]
        if callable(previous):
            # The program decides whether it exits; if it does, the exit hook reports it.
            previous(number, frame)
        else:
            self._run_when_safe(lambda: self._end_process(number))

    def _end_process(self, number: int) -> None:
        try:
            self._goodbye()
        except Exception:
            # Raised from a handler, it would surface in whatever code was running, which could swallow it.
            log.exception("could not report the shutdown")
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
