"""How far an event loop is behind: nobody else sees the requests that wait there."""

from __future__ import annotations

import asyncio
import time
from typing import Final

# Seconds between two looks.
EVERY: Final = 0.25


class Pace:
    """Measures one event loop by a timer that should go off every `EVERY` seconds. Read it from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._late = 0.0
        self._expect()

    def behind(self) -> float:
        """By how many seconds the loop was late last, or is late now."""
        return max(self._late, time.monotonic() - self._due) if self._loop.is_running() else 0.0

    def _expect(self) -> None:
        # Not the loop's own clock, which may stand still while one of its callbacks runs.
        self._due = time.monotonic() + EVERY
        self._loop.call_later(EVERY, self._look)

    def _look(self) -> None:
        self._late = time.monotonic() - self._due
        self._expect()
