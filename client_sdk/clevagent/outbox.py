"""Heartbeats that wait for the server: in order, bounded, and sent again until they are accepted.

Pure: the times are passed in, in seconds of a clock that only goes forward.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from clevagent.counters import merged, sums_of
from clevagent.transport import encode

# Heartbeats kept apart while the server is away. Beyond it, neighbours are put together: their sums stay.
MAX_KEPT = 240
# The server takes 500 in one request of at most 1 MiB; the largest heartbeat of ours is some 90 KiB.
MAX_BATCH, TOGETHER_BYTES = 100, 700_000
# Waits between tries, in seconds: doubled from the first up to the last, each between a half and the whole of it.
WAIT_FIRST, MAX_WAIT = 1.0, 60.0


class Sealed:
    """One heartbeat as it will be sent. `at` is when it was made, `wall` the same by the wall clock.

    Once tried it may have been stored, so it must stay as it is: only its `beat_id` tells the second copy.
    """

    __slots__ = ("_size", "at", "fields", "progress", "reduced", "tried", "wall")

    def __init__(self, fields: dict[str, Any], at: float, wall: float, *, tried: bool = False) -> None:
        self.fields, self.at, self.wall, self.tried = fields, at, wall, tried
        self.reduced = self.progress = False
        self._size = 0

    @property
    def size(self) -> int:
        """In bytes, measured when it is asked for: one heartbeat by itself is never too large."""
        self._size = self._size or len(encode(self.fields))
        return self._size

    @property
    def is_news(self) -> bool:
        """Whether its status must be told by itself: an error put together with a good beat would be lost."""
        return bool(self.fields.get("status", "ok") != "ok")


class Outbox:
    """`jitter` answers a random share from 0 to 1."""

    def __init__(self, most: int = MAX_KEPT, jitter: Callable[[], float] = lambda: os.urandom(1)[0] / 255) -> None:
        self._waiting: deque[Sealed] = deque()
        self._most = most
        self._jitter = jitter
        self._failures = 0
        self.next_try_at = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Sealed]:
        return iter(list(self._waiting))

    def add(self, beat: Sealed) -> None:
        self._waiting.append(beat)
        if len(self._waiting) > self._most:
            self._put_together()

    def _put_together(self) -> None:
        """Make one of two neighbours, the oldest that may be: within an hour first, so that spend stays in its hour."""
        waiting = list(self._waiting)
        untried = [at for at in range(len(waiting) - 1) if not (waiting[at].tried or waiting[at + 1].tried)]
        quiet = [at for at in untried if not (waiting[at].is_news or waiting[at + 1].is_news)]
        same_hour = [at for at in quiet if waiting[at].wall // 3600 == waiting[at + 1].wall // 3600]
        for first in (same_hour or quiet or untried)[:1]:
            older, newer = waiting[first], waiting[first + 1]
            both = Sealed(merged(older.fields, newer.fields), newer.at, newer.wall)
            self._waiting = deque([*waiting[:first], both, *waiting[first + 2 :]])

    def next_ones(self, now: float) -> list[Sealed]:
        """What to send now, the oldest first: none while a wait lasts."""
        if now < self.next_try_at:
            return []
        if len(self._waiting) == 1:
            return list(self._waiting)
        taken: list[Sealed] = []
        size = 0
        for beat in self._waiting:
            size += beat.size
            if len(taken) == MAX_BATCH or (taken and size > TOGETHER_BYTES):
                break
            taken.append(beat)
        return taken

    def accepted(self, beat: Sealed) -> None:
        self._waiting.remove(beat)

    def answered(self) -> None:
        """The server is there: the next failure waits shortly again."""
        self._failures, self.next_try_at = 0, 0.0

    def refused(self, beat: Sealed) -> bool:
        """The server will never take it as it is: keep its sums. Answers whether anything of it is left to send."""
        sums = {} if beat.reduced else sums_of(beat.fields)
        if not sums:
            self._waiting.remove(beat)
            return False
        names = ("agent", "beat_id", "instance", "seq", "sent_at", "sdk")
        beat.fields = {"status": "ok", **{name: beat.fields[name] for name in names if name in beat.fields}, **sums}
        beat.reduced = True
        return True

    def failed(self, now: float, retry_after: float | None = None) -> None:
        """No answer, or one for later: wait, longer each time, and at least as long as the server asks for."""
        wait = min(MAX_WAIT, WAIT_FIRST * 2 ** min(self._failures, 10))
        self._failures += 1
        self.next_try_at = now + max(wait * (0.5 + self._jitter() / 2), retry_after or 0.0)
