"""Group commit: heartbeats that wait at the same moment share one transaction.

A few threads, the lanes, take everything that waits, write it (`write.py`) and report the outcomes. There is no timer,
so a lone heartbeat does not wait; each request is answered after its commit. Usually one lane is at work, because large
groups are cheap; another one steps in when heartbeats have waited for `PATIENCE`, so a slow transaction delays only its
own. Heartbeats of an agent whose row is locked are tried again, and new agents are registered, without anybody else
waiting for them.

When heartbeats come faster than they are stored, they lose their detail first, and then are refused (`overload.py`).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Final

from django.db import connection
from django.utils import timezone

from agents.domain.hot_row import Later
from agents.ingest import load, overload, registration
from agents.ingest.overload import Stage
from agents.ingest.write import Outcome, Received, busy, commit, commit_here, unavailable
from teams.own_connection import own_connection

LANES: Final = 4
MAX_BATCH: Final = 500
MAX_QUEUE: Final = 5_000
# Seconds: after that a request is refused. Published clients give up sooner.
MAX_WAIT: Final = 10.0
# Seconds that heartbeats wait for the lane at work before another one steps in.
PATIENCE: Final = 0.05
# Seconds until a locked row is tried again: at first, and at most.
RETRY_LOCKED: Final = 0.005
RETRY_LOCKED_MAX: Final = 0.1
MAX_NEW: Final = 100
# Seconds for each thread to end.
CLOSING: Final = 30.0
_clock = time.perf_counter


def submit(received: Sequence[Received]) -> list[Outcome]:
    """Store heartbeats and answer each, in order; returns when they are durable.

    An outcome is an ApiError where a heartbeat was refused: 403 for an agent over the plan's limit or unknown in strict
    mode, 503 with Retry-After when the database cannot take it now, 429 with Retry-After when too many wait already.
    """
    if not received:
        return []
    if connection.in_atomic_block:  # the caller's transaction decides what becomes durable
        return commit_here(received)
    if connection.connection is not None:
        # A waiting thread must not hold a pooled connection.
        connection.close_if_unusable_or_obsolete()
    return _committer.submit(received)


def start(received: Sequence[Received], done: Callable[[Job], None]) -> Job:
    """As `submit`, without waiting: `done` is called from another thread once the outcomes are there."""
    return _committer.start(received, done)


def require_room() -> None:
    """Raise ApiError 429 when too many heartbeats wait already. For those who can refuse a request before they read it,
    which is what lets an overloaded server go on working."""
    _committer.require_room()


def abandon(job: Job) -> None:
    """Give up waiting: what was not taken for a transaction yet is not stored."""
    job.abandoned = True
    load.of_this_process.end(job.ticket, job.outcomes, timezone.now())


def has_waited_too_long(job: Job) -> bool:
    return _clock() - job.since > MAX_WAIT


def close() -> None:
    """Store what waits and end this process's threads."""
    _committer.close()


@dataclass(slots=True, eq=False)
class Job:
    """One request's heartbeats, and an outcome for each as soon as it is known."""

    received: Sequence[Received]
    done: Callable[[Job], None]
    since: float
    outcomes: list[Outcome] = field(default_factory=list)
    missing: int = 0
    abandoned: bool = False
    # By which `load` knows the request.
    ticket: int = 0

    def __post_init__(self) -> None:
        self.missing = len(self.received)
        self.outcomes = [busy()] * self.missing

    def finish(self) -> None:
        load.of_this_process.end(self.ticket, self.outcomes, timezone.now())
        self.done(self)

    def refuse(self, error: overload.OverloadError) -> None:
        self.outcomes = [error] * len(self.received)
        self.finish()


@dataclass(slots=True, eq=False)
class _Waiting:
    """One heartbeat of a job, by index, which may be tried again from `due`."""

    job: Job
    index: int
    due: float = 0.0
    pause: float = RETRY_LOCKED

    @property
    def received(self) -> Received:
        return self.job.received[self.index]


class Committer:
    """Group commit for one process."""

    def __init__(self) -> None:
        guard = threading.Lock()
        self._ready = threading.Condition(guard)
        self._registrar = threading.Condition(guard)
        self._waiting: deque[_Waiting] = deque()
        self._locked: list[_Waiting] = []
        self._new: deque[_Waiting] = deque()
        self._queued = 0
        self._refused = 0
        self._at_work = 0
        self._watching = 0
        self._threads: list[threading.Thread] = []
        self._closed = False

    def submit(self, received: Sequence[Received]) -> list[Outcome]:
        finished = threading.Event()
        job = self.start(received, lambda job: finished.set())
        if not finished.wait(MAX_WAIT):
            abandon(job)
        return job.outcomes

    def start(self, received: Sequence[Received], done: Callable[[Job], None]) -> Job:
        job = Job(received, done, _clock(), ticket=load.of_this_process.begin(received[0].received_at))
        try:
            stage = self.require_room()
        except overload.OverloadError as error:
            job.refuse(error)
            return job
        if stage is Stage.SUMS:
            job.received = [replace(each, detail=False) for each in job.received]
        self._queue(job)
        return job

    def require_room(self) -> Stage:
        """What is taken of a heartbeat that comes now. Raises OverloadError: nothing."""
        stage = overload.stage(self.waited())
        if stage is Stage.NOTHING:
            self._refused += 1
            error = overload.refusal(self._refused)
            load.of_this_process.refuse(error, timezone.now())
            raise error
        return stage

    def _queue(self, job: Job) -> None:
        with self._ready:
            is_full = self._queued >= MAX_QUEUE
            if not is_full:
                self._queued += job.missing
                self._waiting.extend(_Waiting(job, index) for index in range(job.missing))
                self._open()
                if not self._at_work:
                    self._ready.notify()
        if is_full:
            job.finish()

    def close(self) -> None:
        """Store what waits, then end the threads and their connections. The next heartbeat starts new ones."""
        with self._ready:
            self._closed, threads, self._threads = True, self._threads, []
            self._wake_all()
        for thread in threads:
            thread.join(CLOSING)
        self._closed = False

    @property
    def queued(self) -> int:
        """How many heartbeats wait or are being stored."""
        return self._queued

    def waited(self) -> float:
        """How many seconds those have waited that come next, in the queue and before anybody had seen them."""
        with self._ready:
            # Those of locked agents return to the front of the queue and say nothing about it.
            first = next((waiting for waiting in self._waiting if not waiting.due), None)
            queued = _clock() - first.job.since if first else 0.0
        return queued + load.of_this_process.behind()

    def _open(self) -> None:
        if not self._threads:
            works = [self._commit_forever] * _lanes() + [self._register_forever]
            self._threads = [threading.Thread(target=work, name="ingest", daemon=True) for work in works]
            for thread in self._threads:
                thread.start()

    # The lanes

    def _commit_forever(self) -> None:
        with own_connection():
            while group := self._take():
                # A connection that broke is replaced; without an error this asks nobody.
                connection.close_if_unusable_or_obsolete()
                try:
                    with _turn():
                        outcomes = commit([waiting.received for waiting in group])
                finally:
                    with self._ready:
                        self._at_work -= 1
                self._sort(group, outcomes)

    def _take(self) -> list[_Waiting]:
        """Everything that waits, as soon as it is this lane's turn. Empty: closed."""
        with self._ready:
            while not self._is_my_turn(_clock()):
                if self._closed and not self._queued:
                    return []
                self._wait(self._pause(_clock()))
            self._at_work += 1
            if not self._watching:
                self._ready.notify()
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_BATCH))]

    def _is_my_turn(self, now: float) -> bool:
        self._recall_locked(now)
        self._drop_abandoned()
        if not self._waiting:
            return False
        return not self._at_work or now - self._waited_since() >= PATIENCE

    def _waited_since(self) -> float:
        first = self._waiting[0]
        return max(first.job.since, first.due)

    def _recall_locked(self, now: float) -> None:
        due = [waiting for waiting in self._locked if waiting.due <= now]
        if due:
            self._locked = [waiting for waiting in self._locked if waiting.due > now]
            self._waiting.extendleft(reversed(due))

    def _drop_abandoned(self) -> None:
        while self._waiting and self._waiting[0].job.abandoned:
            self._waiting.popleft()
            self._queued -= 1

    def _pause(self, now: float) -> float | None:
        """Seconds until it may be this lane's turn; None: until something happens.

        While a lane is at work, another one looks at the queue from time to time: waking it for each heartbeat that
        comes in would cost more than storing the heartbeat.
        """
        times = [waiting.due for waiting in self._locked]
        if self._at_work:
            times.append((self._waited_since() if self._waiting else now) + PATIENCE)
        return max(0.001, min(times) - now) if times else None

    def _wait(self, pause: float | None) -> None:
        self._watching += pause is not None
        self._ready.wait(pause)
        self._watching -= pause is not None

    def _sort(self, group: Sequence[_Waiting], outcomes: Sequence[Outcome | Later]) -> None:
        """Report outcomes; keep the heartbeats of locked rows and of new agents for another attempt."""
        settled = []
        with self._ready:
            for waiting, outcome in zip(group, outcomes, strict=True):
                if outcome is Later.LOCKED:
                    self._keep_locked(waiting)
                elif outcome is Later.UNKNOWN:
                    self._new.append(waiting)
                else:
                    settled.append((waiting, outcome))
            self._queued -= len(settled)
            if self._new or self._closed:
                self._wake_all()
        self._report(settled)

    def _wake_all(self) -> None:
        self._ready.notify_all()
        self._registrar.notify_all()

    def _keep_locked(self, waiting: _Waiting) -> None:
        waiting.due = _clock() + waiting.pause
        waiting.pause = min(waiting.pause * 2, RETRY_LOCKED_MAX)
        self._locked.append(waiting)

    def _report(self, settled: Iterable[tuple[_Waiting, Outcome]]) -> None:
        for waiting, outcome in settled:
            job = waiting.job
            job.outcomes[waiting.index] = outcome
            # Heartbeats of one job may be settled by different lanes.
            with self._ready:
                job.missing -= 1
                is_done = job.missing == 0
            if is_done:
                job.finish()

    # New agents

    def _register_forever(self) -> None:
        with own_connection():
            while group := self._take_new():
                connection.close_if_unusable_or_obsolete()
                self._sort_new(group, _register(group))

    def _take_new(self) -> list[_Waiting]:
        with self._ready:
            while not self._new:
                if self._closed and not self._queued:
                    return []
                self._registrar.wait()
            return [self._new.popleft() for _ in range(min(len(self._new), MAX_NEW))]

    def _sort_new(self, group: Sequence[_Waiting], outcomes: Sequence[Outcome | Later | None]) -> None:
        """Those that are registered now go to the lanes, with everybody who waits."""
        pairs = list(zip(group, outcomes, strict=True))
        others = [(waiting, outcome) for waiting, outcome in pairs if outcome is not None]
        self._sort([waiting for waiting, _ in others], [outcome for _, outcome in others])
        with self._ready:
            self._waiting.extend(waiting for waiting, outcome in pairs if outcome is None)
            self._ready.notify()


def _lanes() -> int:
    """SQLite has one writer: more lanes would only wait for it, and it lets those who wait sleep."""
    return LANES if connection.features.has_select_for_update else 1


def _turn() -> AbstractContextManager[object]:
    """On SQLite, this process's threads write one after the other for the same reason."""
    return nullcontext() if connection.features.has_select_for_update else _writing


_writing = threading.Lock()


def _register(group: Sequence[_Waiting]) -> Sequence[Outcome | Later | None]:
    try:
        newcomers = [(waiting.received.caller, waiting.received.beat) for waiting in group]
        with _turn():
            return registration.register_apart(newcomers, timezone.now())
    except Exception as error:
        return [unavailable(error)] * len(group)


_committer = Committer()
