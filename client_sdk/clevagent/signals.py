"""SIGTERM and SIGINT, where the program asked for it: say goodbye, then let happen what would have happened."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from clevagent.log import log

SEEN = (signal.SIGTERM, signal.SIGINT)


class Chain:
    """Handlers that call `goodbye` and then the handlers they found. Taken out only where they still stand."""

    def __init__(self, goodbye: Callable[[], None]) -> None:
        self._goodbye = goodbye
        self._before: dict[int, Any] = {}
        self._ours: Callable[[int, FrameType | None], Any] = self._on_signal
        try:
            for number in SEEN:
                before = signal.getsignal(number)
                if before not in (None, signal.SIG_IGN):  # what is ignored stays ignored
                    self._before[number] = before
                    signal.signal(number, self._ours)
        except ValueError:
            log.warning("handle_signals has no effect: init() was not called on the main thread")

    def restore(self) -> None:
        """Put back what was found, where nobody else has put in another since."""
        for number, before in self._before.items():
            if signal.getsignal(number) is self._ours:
                signal.signal(number, before)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        before = self._before[number]
        if callable(before):
            # The program decides whether it ends; when it does, its end is reported.
            before(number, frame)
            return
        try:
            self._goodbye()
        except Exception:
            # Raised from here it would come up in whatever was going on, which may swallow it and the signal with it.
            log.exception("the agent's end could not be reported")
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
