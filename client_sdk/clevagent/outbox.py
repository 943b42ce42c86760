"""Heartbeats waiting to be sent: ordered, bounded and retried until the server accepts them.

Pure: times are passed in, in seconds of the monotonic clock.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from clevagent.counters import merged, sums_of
from clevagent.transport import encode

# Heartbeats kept separate while the server is unreachable. Beyond that, neighbours are merged; totals are kept.
MAX_KEPT = 240
# The server accepts 500 heartbeats in one request of at most 1 MiB; our largest heartbeat is about 90 KiB.
MAX_BATCH, MAX_BATCH_BYTES = 100, 700_000
# Seconds between retries: doubling from the first to the maximum, each reduced by up to half at random.
FIRST_WAIT, MAX_WAIT = 1.0, 60.0


class Heartbeat:
    """One heartbeat as it will be sent. `at` is its time on the monotonic clock, `wall` on the wall clock.

    Once sent it may have been stored, so it must not change: the server recognises a repeat by its `beat_id`.
    """

    __slots__ = ("_size", "adopted", "at", "fields", "progress", "reduced", "tried", "wall")

    def __init__(self, fields: dict[str, Any], at: float, wall: float, *, adopted: bool = False) -> None:
        self.fields, self.at, self.wall = fields, at, wall
        # An earlier process made it, and may have sent it already, so it must not change.
        self.adopted = self.tried = adopted
        self.reduced = self.progress = False
        self._size = 0

    @property
    def size(self) -> int:
        """In bytes, measured on demand: a single heartbeat is never too large."""
        self._size = self._size or len(encode(self.fields))
        return self._size

    @property
    def must_stay_separate(self) -> bool:
        """Whether merging it with an `ok` heartbeat would lose its status, or what it says about a job's run."""
        return bool(self.fields.get("status", "ok") != "ok") or "job" in self.fields


def essence_of(fields: dict[str, Any]) -> dict[str, Any]:
    """Return who sent a heartbeat, its status, its totals and what it says about a job's run."""
    names = ("agent", "status", "beat_id", "instance", "seq", "sent_at", "sdk", "job")
    return {**{name: fields[name] for name in names if name in fields}, **sums_of(fields)}


class Outbox:
    """`jitter` returns a random number from 0 to 1."""

    def __init__(self, most: int = MAX_KEPT, jitter: Callable[[], float] = lambda: os.urandom(1)[0] / 255) -> None:
        self._waiting: deque[Heartbeat] = deque()
        self._most = most
        self._jitter = jitter
        self._failures = 0
        self.next_try_at = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Heartbeat]:
        return iter(list(self._waiting))

    def add(self, beat: Heartbeat) -> None:
        self._waiting.append(beat)
        if len(self._waiting) > self._most:
            self._merge_neighbours()

    def _merge_neighbours(self) -> None:
        """Merge two neighbours, the oldest possible, preferably within one hour so that spend stays in its hour."""
        waiting = list(self._waiting)
        untried = [at for at in range(len(waiting) - 1) if not (waiting[at].tried or waiting[at + 1].tried)]
        quiet = [at for at in untried if not (waiting[at].must_stay_separate or waiting[at + 1].must_stay_separate)]
        same_hour = [at for at in quiet if waiting[at].wall // 3600 == waiting[at + 1].wall // 3600]
        for first in (same_hour or quiet or untried)[:1]:
            older, newer = waiting[first], waiting[first + 1]
            both = Heartbeat(merged(older.fields, newer.fields), newer.at, newer.wall)
            self._waiting = deque([*waiting[:first], both, *waiting[first + 2 :]])

    def next_batch(self, now: float) -> list[Heartbeat]:
        """Return what to send now, oldest first; nothing during a retry delay."""
        if now < self.next_try_at:
            return []
        if len(self._waiting) == 1:
            return list(self._waiting)
        taken: list[Heartbeat] = []
        size = 0
        for beat in self._waiting:
            size += beat.size
            if len(taken) == MAX_BATCH or (taken and size > MAX_BATCH_BYTES):
                break
            taken.append(beat)
        return taken

    def accepted(self, beat: Heartbeat) -> None:
        self._waiting.remove(beat)

    def answered(self) -> None:
        """The server answered, so the next retry delay starts small again."""
        self._failures, self.next_try_at = 0, 0.0

    def refused(self, beat: Heartbeat) -> bool:
        """The server will never accept it as it is: keep who it is, its status and totals, or drop it the second time.

        Return whether anything is left to send.
        """
        if beat.reduced:
            self._waiting.remove(beat)
            return False
        beat.fields = essence_of(beat.fields)
        beat.reduced = True
        return True

    def failed(self, now: float, retry_after: float | None = None) -> None:
        """Delay the next try, longer after each failure, and at least as long as the server asks."""
        wait = min(MAX_WAIT, FIRST_WAIT * 2 ** min(self._failures, 10))
        self._failures += 1
        self.next_try_at = now + max(wait * (0.5 + self._jitter() / 2), retry_after or 0.0)
