"""Whether this web process keeps up: since when heartbeats wait for long, and when they were refused for lack of room.

An agent whose heartbeat waits here, or was refused, looks silent to the detector. So every web process reports such
times with its pulse (`watchdog_project/health.py`), and deadlines move by them as by an outage of the watchdog.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from agents.domain.clocks import Span
from agents.ingest.overload import OverloadError
from agents.ingest.write import Outcome
from teams.errors import ApiError

# With the time between two pulses this stays below the smallest grace period (5 s), so an overload is known before the
# first deadline passes because of it.
SLOW_AFTER: Final = timedelta(seconds=1)
REFUSED: Final = 503


class Load:
    """The heartbeats that wait in one process. Safe for threads; the clock is passed in."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: dict[int, datetime] = {}
        self._tickets = 0
        self._trouble: Span | None = None
        # Seconds that requests wait before anybody has seen them; see `pace.py`.
        self.behind: Callable[[], float] = float

    def begin(self, received_at: datetime) -> int:
        """A request with heartbeats starts to wait. Returns its ticket."""
        with self._guard:
            self._tickets += 1
            self._waiting[self._tickets] = received_at
            return self._tickets

    def end(self, ticket: int, outcomes: Sequence[Outcome], now: datetime) -> None:
        """The request is answered, or was abandoned before: the first of both counts."""
        with self._guard:
            received_at = self._waiting.pop(ticket, None)
            if received_at is None:
                return
            if now - received_at >= SLOW_AFTER or _is_refused(outcomes):
                self._add(Span(received_at, now))

    def refuse(self, error: OverloadError, now: datetime) -> None:
        """A request is refused. Until the time at which it may come back, its agent is not expected to report."""
        with self._guard:
            self._add(Span(now, now + timedelta(seconds=error.retry_after or 0)))

    def take_trouble(self, now: datetime) -> Span | None:
        """From when to when heartbeats have waited too long or were refused since the last call; None: not at all.

        Its end may be in the future: clients were asked to stay away until then.
        """
        unseen = now - timedelta(seconds=self.behind())
        with self._guard:
            oldest = min(self._waiting.values(), default=now)
            oldest = min(oldest, unseen)
            if now - oldest >= SLOW_AFTER:
                self._add(Span(oldest, now))
            trouble, self._trouble = self._trouble, None
            return trouble

    def give_back(self, trouble: Span) -> None:
        """What was taken could not be stored: it is part of what is taken next."""
        with self._guard:
            self._add(trouble)

    def _add(self, span: Span) -> None:
        known = self._trouble or span
        self._trouble = Span(min(known.start, span.start), max(known.end, span.end))


def _is_refused(outcomes: Sequence[Outcome]) -> bool:
    return any(isinstance(outcome, ApiError) and outcome.http_status == REFUSED for outcome in outcomes)


of_this_process: Final = Load()
