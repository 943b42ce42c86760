"""Group commit: heartbeats that wait at the same moment share one transaction.

A request that finds no commit in progress becomes the leader: it takes everything that waits, writes it (`write.py`)
and wakes the others. There is no timer, so a lone heartbeat does not wait; each request is answered after its commit.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from django.db import connection
from django.utils import timezone

from agents.ingest import load
from agents.ingest.write import Outcome, Received, busy, commit

MAX_BATCH: Final = 500
MAX_QUEUE: Final = 5_000
MAX_WAIT: Final = 30.0


def submit(received: Sequence[Received]) -> list[Outcome]:
    """Store heartbeats and answer each, in order; returns when they are durable.

    An outcome is an ApiError where a heartbeat was refused: 403 for an agent over the plan's limit or unknown in strict
    mode, 503 with Retry-After when the database cannot take it now (then nothing of it is stored).
    """
    if not received:
        return []
    if connection.connection is not None and not connection.in_atomic_block:
        # A waiting thread must not hold a pooled connection, or the leader may not get one.
        connection.close_if_unusable_or_obsolete()
    ticket, outcomes = load.of_this_process.begin(received[0].received_at), list[Outcome]()
    try:
        outcomes = _committer.submit(received)
    finally:
        load.of_this_process.end(ticket, outcomes, timezone.now())
    return outcomes


@dataclass(slots=True)
class _Job:
    """One request's heartbeats; once done, an outcome for each. `turn` is locked until it is done or becomes leader."""

    received: Sequence[Received]
    turn: threading.Lock
    leads: bool = False
    outcomes: list[Outcome] = field(default_factory=list)


class Committer:
    """Group commit for one process. `lanes` is the number of concurrent transactions."""

    def __init__(self, lanes: int = 1) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[_Job] = deque()
        self._queued = 0
        self._free = lanes

    def submit(self, received: Sequence[Received]) -> list[Outcome]:
        job = _Job(received, threading.Lock())
        if not self._enter(job):
            return [busy() for _ in received]
        if not job.outcomes:
            self._lead()
        return job.outcomes

    def _enter(self, job: _Job) -> bool:
        """Wait in the queue until the job is done or this thread becomes leader; False when the queue is full."""
        with self._guard:
            if self._queued >= MAX_QUEUE:
                return False
            self._queued += len(job.received)
            self._waiting.append(job)
            if self._free:
                self._free -= 1
                return True
            job.turn.acquire()
        if not job.turn.acquire(timeout=MAX_WAIT):
            return self._leave(job)
        return True

    def _leave(self, job: _Job) -> bool:
        """Leave the queue; returns False. If the job was taken or leads by now, wait: its turn is near."""
        with self._guard:
            if job in self._waiting and not job.leads:
                self._waiting.remove(job)
                self._queued -= len(job.received)
                return False
        job.turn.acquire()
        return True

    def _lead(self) -> None:
        """Commit everything that waits, wake those threads, and make the next one in the queue leader."""
        jobs = self._take()
        try:
            _commit_jobs(jobs)
        finally:
            self._hand_over(jobs)

    def _take(self) -> list[_Job]:
        with self._guard:
            jobs: list[_Job] = []
            size = 0
            while self._waiting and (not jobs or size + len(self._waiting[0].received) <= MAX_BATCH):
                job = self._waiting.popleft()
                size += len(job.received)
                jobs.append(job)
            return jobs

    def _hand_over(self, jobs: list[_Job]) -> None:
        for job in jobs:
            if not job.outcomes:
                job.outcomes = [busy() for _ in job.received]
            if job.turn.locked():
                job.turn.release()
        with self._guard:
            self._queued -= sum(len(job.received) for job in jobs)
            if self._waiting:
                self._waiting[0].leads = True
                self._waiting[0].turn.release()
            else:
                self._free += 1


_committer = Committer()


def _commit_jobs(jobs: list[_Job]) -> None:
    outcomes = commit([received for job in jobs for received in job.received])
    start = 0
    for job in jobs:
        end = start + len(job.received)
        job.outcomes = outcomes[start:end]
        start = end
