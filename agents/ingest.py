"""The hot path: heartbeats become durable. Write first, think later.

Requests of one process that wait at the same moment share one transaction (group commit): whoever finds nobody
committing leads, takes all that wait, writes them in three statements, commits, and wakes the others. There is no
timer, so a lone beat waits for nobody; everyone is answered after their own commit.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

import structlog
from django.conf import settings
from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    connection,
    transaction,
)
from django.urls import reverse
from django.utils import timezone

from agents import pricing, registration, spending, store
from agents.beat import Beat
from agents.budgets import Month
from agents.clocks import Settings
from agents.fold import budgets_of, fold, on_hold, spent_in
from agents.hot import Answer, Folded, Hot, Moment, Set
from teams.auth import Caller
from teams.errors import ApiError

log = structlog.get_logger(__name__)

BATCH_MOST: Final = 500
QUEUE_MOST: Final = 5_000
TRIES: Final = 3
WAIT_LONGEST: Final = 30.0


@dataclass(frozen=True, slots=True)
class Received:
    """A beat as it came in. `source` tells reporters apart; with `detail` false sums are kept, contents are not.

    `ahead` is how far the sender's clock is ahead of ours, as far as its request tells.
    """

    caller: Caller
    beat: Beat
    received_at: datetime
    source: str
    detail: bool = True
    ahead: timedelta = timedelta(0)

    @property
    def spent_at(self) -> datetime:
        return pricing.spent_at(self.beat, self.received_at, self.ahead)


Outcome = Answer | ApiError


def submit(received: Sequence[Received]) -> list[Outcome]:
    """Store beats and answer each, in order; returns when they are durable.

    An outcome is an ApiError where a beat was refused: 403 for an agent over the plan or unknown in strict mode,
    503 with Retry-After when the database cannot take it now (nothing of that beat is stored then).
    """
    if not received:
        return []
    if connection.connection is not None and not connection.in_atomic_block:
        # Whoever waits must not keep a connection of the pool, or the leader may find none.
        connection.close_if_unusable_or_obsolete()
    return _committer.submit(received)


@dataclass(slots=True)
class _Job:
    """One request's beats and, later, their outcomes. `turn` is held until it is done or is to lead."""

    received: Sequence[Received]
    turn: threading.Lock
    leads: bool = False
    outcomes: list[Outcome] | None = None


class Committer:
    """Group commit for one process. `lanes` is how many transactions may run at once."""

    def __init__(self, lanes: int = 1) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[_Job] = deque()
        self._queued = 0
        self._free = lanes

    def submit(self, received: Sequence[Received]) -> list[Outcome]:
        job = _Job(received, threading.Lock())
        if not self._enter(job):
            return [_busy() for _ in received]
        if job.outcomes is None:
            self._lead()
        assert job.outcomes is not None  # noqa: S101 - the leader, this thread or another, has just set it
        return job.outcomes

    def _enter(self, job: _Job) -> bool:
        """Queue up. Returns once the job is done or it is this thread's turn to lead; False when too many wait."""
        with self._guard:
            if self._queued >= QUEUE_MOST:
                return False
            self._queued += len(job.received)
            self._waiting.append(job)
            if self._free:
                self._free -= 1
                return True
            job.turn.acquire()
        if not job.turn.acquire(timeout=WAIT_LONGEST):
            return self._gave_up(job)
        return True

    def _gave_up(self, job: _Job) -> bool:
        """Leave the queue, unless the job was taken meanwhile or has the lead: then its turn is near."""
        with self._guard:
            if job in self._waiting and not job.leads:
                self._waiting.remove(job)
                self._queued -= len(job.received)
                return False
        job.turn.acquire()
        return True

    def _lead(self) -> None:
        """Commit what waits, wake who waited, and hand the lead to whoever came meanwhile."""
        jobs = self._take()
        try:
            _commit_jobs(jobs)
        finally:
            self._hand_over(jobs)

    def _take(self) -> list[_Job]:
        with self._guard:
            jobs: list[_Job] = []
            size = 0
            while self._waiting and (not jobs or size + len(self._waiting[0].received) <= BATCH_MOST):
                job = self._waiting.popleft()
                size += len(job.received)
                jobs.append(job)
            return jobs

    def _hand_over(self, jobs: list[_Job]) -> None:
        for job in jobs:
            if job.outcomes is None:
                job.outcomes = [_busy() for _ in job.received]
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


def _busy() -> ApiError:
    return ApiError(503, "busy", "The server cannot store heartbeats right now; send it again.", retry_after=2)


def _commit_jobs(jobs: list[_Job]) -> None:
    outcomes = commit([received for job in jobs for received in job.received])
    start = 0
    for job in jobs:
        end = start + len(job.received)
        job.outcomes = outcomes[start:end]
        start = end


def commit(received: Sequence[Received]) -> list[Outcome]:
    """Store beats in one transaction; when that fails, each in its own, so that a poisoned one fails alone."""
    try:
        return _store(received)
    except Exception as error:
        if len(received) > 1 and _is_down(error):
            return [_refused(error) for _ in received]
        return [outcome for one in received for outcome in _commit_alone(one)]


def _commit_alone(received: Received) -> list[Outcome]:
    """One beat, tried again: after a deadlock, or after a copy of it won the race and is now there to be seen."""
    for attempt in range(TRIES):
        try:
            return _store([received])
        except DataError as error:
            log.warning("heartbeat refused by the database", agent=received.beat.agent, error=str(error))
            return [ApiError(422, "invalid", "The heartbeat holds a value that cannot be stored.")]
        except DatabaseError as error:
            if attempt == TRIES - 1 or _is_down(error):
                return [_refused(error)]
        except Exception:
            log.exception("a heartbeat could not be stored", agent=received.beat.agent)
            return [ApiError(500, "server_error", "This server made a mistake with this heartbeat; see its log.")]
    raise AssertionError("unreachable")


def _is_down(error: Exception) -> bool:
    """Whether the database itself is away or out of step, so that trying again at once would only take longer."""
    if isinstance(error, OperationalError):
        return getattr(error.__cause__, "sqlstate", "") not in ("40P01", "40001")
    return isinstance(error, DatabaseError | InterfaceError) and not isinstance(error, IntegrityError | DataError)


def _refused(error: Exception) -> ApiError:
    log.error("heartbeats could not be stored", error=str(error))
    return _busy()


def _store(received: Sequence[Received]) -> list[Outcome]:
    with transaction.atomic():
        now = timezone.now()
        found, refused = _lock(received, now)
        writing = _Writing(now, _months(received, now))
        for index, one in enumerate(received):
            if index in found:
                writing.add(index, one, found[index])
        if writing.hot:
            store.update(writing.hot.values())
        if writing.beats:
            store.insert(writing.beats)
    return [writing.outcomes[index] if index in found else refused[index] for index in range(len(received))]


def _months(received: Sequence[Received], now: datetime) -> dict[int, Month]:
    """What the projects that have a monthly budget spent of it before these beats. Read after their agents' locks."""
    callers = {one.caller.project_id: one.caller for one in received if one.caller.monthly}
    firsts = {pk: now.astimezone(_zone(caller.time_zone)).date().replace(day=1) for pk, caller in callers.items()}
    return spending.committed(firsts) if firsts else {}


def _lock(received: Sequence[Received], now: datetime) -> tuple[dict[int, store.Found], dict[int, ApiError]]:
    """Lock the agents of all beats, making those that report for the first time."""
    wanted = [
        {"i": i, "project_id": one.caller.project_id, "name": one.beat.agent, "beat_id": one.beat.beat_id}
        for i, one in enumerate(received)
    ]
    sent = min(one.spent_at for one in received).astimezone(UTC).date()
    found = store.lock(wanted, now.date(), sent)
    unknown = [index for index in range(len(received)) if index not in found]
    refused: dict[int, ApiError] = {}
    if unknown:
        new = {index: (received[index].caller, received[index].beat) for index in unknown}
        refused = registration.register(new, now)
        found = store.lock(wanted, now.date(), sent)
    return _with_place(received, found, refused, now), refused


def _with_place(
    received: Sequence[Received], found: dict[int, store.Found], refused: dict[int, ApiError], now: datetime
) -> dict[int, store.Found]:
    """Those whose agents have a place in their team's plan; the others are refused."""
    out = [index for index, one in found.items() if one.over_plan]
    for index in out:
        refused[index] = registration.turn_away(received[index].caller, received[index].beat.agent, now)
    return {index: one for index, one in found.items() if index not in refused}


class _Writing:
    """One transaction's rows, folded beat by beat in the order of arrival."""

    def __init__(self, now: datetime, months: dict[int, Month]) -> None:
        self.now = now
        self.months = months
        self.hot: dict[int, Hot] = {}
        self.beats: list[dict[str, Any]] = []
        self.outcomes: dict[int, Answer] = {}
        self._seen: dict[tuple[int, str], Answer] = {}

    def add(self, index: int, one: Received, found: store.Found) -> None:
        agent_id, beat_id = found.hot.agent_id, one.beat.beat_id
        if found.stored_before:
            self.outcomes[index] = self._again(one, found)
        elif beat_id and (agent_id, beat_id) in self._seen:
            self.outcomes[index] = self._seen[agent_id, beat_id]
        else:
            answer = self._fold(one, found)
            self.outcomes[index] = answer
            if beat_id:
                self._seen[agent_id, beat_id] = answer

    def _fold(self, one: Received, found: store.Found) -> Answer:
        hot = self.hot.setdefault(found.hot.agent_id, found.hot)
        zone, at = _zone(one.caller.time_zone), one.spent_at
        moment = Moment(one.received_at, self.now, self.now.astimezone(zone).date())
        # Without a time of its own it is of the day on which it is stored.
        day = moment.today if one.beat.sent_at is None else at.astimezone(zone).date()
        spent = pricing.spent(one.beat, at, day, one.caller.prices)
        others = self._others(one.caller, hot)
        folded = fold(hot, one.beat, spent, _set(found, one.caller, others), moment, one.source)
        if others is not None:
            self.months[one.caller.project_id] = replace(others, cost=others.cost + spent_in(hot, others.first))
        answer = _answer(hot, folded.hold, folded.warning, folded.reason)
        self.beats.append(_row(hot.agent_id, one, folded, answer, self.now))
        return answer

    def _others(self, caller: Caller, hot: Hot) -> Month | None:
        month = self.months.get(caller.project_id)
        return month and replace(month, cost=month.cost - spent_in(hot, month.first))

    def _again(self, one: Received, found: store.Found) -> Answer:
        """The answer of a beat that is stored already; whether to hold is said as it is now."""
        hot = self.hot.get(found.hot.agent_id, found.hot)
        today = self.now.astimezone(_zone(one.caller.time_zone)).date()
        given = _set(found, one.caller, self._others(one.caller, hot))
        return _answer(hot, on_hold(hot, budgets_of(hot, given, today), given), **(found.answer_before or {}))


def _set(found: store.Found, caller: Caller, others: Month | None) -> Set:
    grace = found.grace if found.grace is not None else caller.default_grace
    clocks = Settings(found.interval, grace, found.progress_timeout)
    own = (found.daily_budget, found.run_budget, found.daily_tokens)
    return Set(clocks, *own, found.paused, caller.monthly, others)


def _row(agent_id: int, one: Received, folded: Folded, answer: Answer, now: datetime) -> dict[str, Any]:
    beat, spent = one.beat, folded.spent
    return {
        "agent_id": agent_id,
        "day": now.date(),
        "received_at": one.received_at,
        "spent_at": spent.at,
        "beat_id": beat.beat_id,
        "status": beat.status,
        "progress": folded.progress,
        "tokens": spent.tokens,
        "cost": spent.cost,
        "priced": spent.priced,
        "unpriced": spent.unpriced_tokens,
        "tool_calls": beat.calls,
        "iteration": beat.iteration_count,
        "memory_mb": beat.memory_mb,
        "gap": folded.gap,
        "content": _content(one, folded),
        "answer": {"warning": answer.warning, "reason": answer.reason} if answer.warning else None,
    }


def _content(one: Received, folded: Folded) -> dict[str, Any] | None:
    # What went wrong is kept at any rate, and so is what was used: prices change, tokens do not.
    kept = one.beat.content() if one.detail or one.beat.status == "error" else None
    used = {"usage": one.beat.usage, "prices": folded.spent.prices} if folded.spent.prices else {}
    found = {**(kept or {}), **used, **({"note": folded.note} if folded.note else {})}
    return found or None


def _answer(hot: Hot, hold: bool, warning: str | None = None, reason: str | None = None) -> Answer:
    incident = None
    if hot.incident_id:
        incident = {"id": hot.incident_id, "kind": hot.incident_kind, "url": _incident_url(hot.incident_id)}
    return Answer(hot.agent_id, warning, reason, incident, hold)


@lru_cache(maxsize=4096)
def _incident_url(incident_id: int) -> str:
    return str(settings.BASE_URL) + reverse("admin:agents_incident_change", args=[incident_id])


@lru_cache(maxsize=512)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
