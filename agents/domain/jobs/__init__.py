"""A job's runs against its schedule: what is overdue, what takes too long, what ran too often. Pure.

A run begins with a start and ends with a success or a failure; without a start, it is known by its end alone. Runs that
name a run ID may overlap. Without one, a new start replaces the last: nobody can tell whether the earlier run ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any, Final

import msgspec

from agents.domain.clocks import Span
from agents.domain.jobs import schedules
from agents.domain.jobs.schedules import NONE, PERIOD, Schedule

START: Final = "start"
SUCCESS: Final = "success"
FAIL: Final = "fail"
LOG: Final = "log"
EVENTS: Final = (START, SUCCESS, FAIL, LOG)
ENDS: Final = (SUCCESS, FAIL)
MAX_RUNS: Final = 20
# Characters of a failed run's output that are kept as evidence: its end, where the cause is.
MAX_OUTPUT: Final = 2_000
# A host whose clock is ahead starts its job a little early. Never more than a quarter of the time between two runs.
EARLY: Final = timedelta(seconds=15)
EARLY_SHARE: Final = 4
# The network delays each event differently, so that a run's end may seem to come before its start.
SLACK: Final = timedelta(seconds=15)


class Run(msgspec.Struct, omit_defaults=True):
    """One run. `ok`: None while it runs. `took` is what the client measured, in seconds."""

    rid: str = ""
    began: datetime | None = None
    ended: datetime | None = None
    ok: bool | None = None
    exit_status: int | None = None
    took: float | None = None
    output: str = ""

    @property
    def at(self) -> datetime:
        """When it showed that the job was started."""
        at = self.began or self.ended
        if at is None:
            raise ValueError("a run has a beginning or an end")
        return at

    @property
    def is_open(self) -> bool:
        return self.ended is None

    @property
    def duration(self) -> float | None:
        if self.took is not None or self.began is None or self.ended is None:
            return self.took
        return (self.ended - self.began).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What a heartbeat says about a run."""

    event: str
    at: datetime
    rid: str = ""
    exit_status: int | None = None
    took: float | None = None
    output: str = ""


def add(runs: Iterable[Run], event: Event) -> list[Run]:
    """The runs after one more event, the oldest first."""
    known = list(runs)
    if event.event == START:
        known = _started(known, event)
    elif event.event in ENDS:
        known = _ended(known, event)
    return _bounded(known)


def _started(runs: list[Run], event: Event) -> list[Run]:
    """A start that was stored while the server was down may arrive after what happened later."""
    same = [run for run in runs if run.rid == event.rid]
    later = [run for run in same if event.rid or (run.ended or run.at) > event.at]
    if not later:
        kept = runs if event.rid else [run for run in runs if run.rid or not run.is_open]
        return [*kept, Run(rid=event.rid, began=event.at)]
    # The beginning of the run that ended next. Otherwise sent twice, or replaced by a later start.
    run = later[0]
    if run.began is None:
        run.began = min(event.at, run.at)
    return runs


def _ended(runs: list[Run], event: Event) -> list[Run]:
    began_by = event.at + SLACK
    same = [run for run in runs if run.rid == event.rid and (event.rid or (run.is_open and run.at <= began_by))]
    # A success without a run ID ends the last start without one; a repeated end of a known run changes nothing.
    run = same[-1] if same else Run(rid=event.rid)
    if not same:
        runs = [*runs, run]
    if run.is_open:
        run.ended, run.ok = max(event.at, run.began or event.at), event.event == SUCCESS
        run.exit_status, run.took, run.output = event.exit_status, event.took, event.output[-MAX_OUTPUT:]
    return runs


def _successor(run: Run, runs: Iterable[Run]) -> Run | None:
    """A run that began later and succeeded: an earlier one without an end was probably killed."""
    return next((other for other in runs if other.ok and other.began and other.began > run.at), None)


def _bounded(runs: list[Run]) -> list[Run]:
    """At most MAX_RUNS: those in progress are dropped last. Only the last failure keeps its output."""
    runs = sorted(runs, key=lambda run: run.at)
    surplus = len(runs) - MAX_RUNS
    if surplus > 0:
        dropped = sorted(runs, key=lambda run: (run.is_open and not _successor(run, runs), run.at))[:surplus]
        runs = [run for run in runs if run not in dropped]
    last = last_ended(runs)
    for run in runs:
        run.output = run.output if run is last and not run.ok else ""
    return runs


def last_ended(runs: Iterable[Run]) -> Run | None:
    return max((run for run in runs if run.ended), key=lambda run: run.ended or run.at, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as the rules see it.

    seen: its last heartbeat that says nothing about a run. waived: a person resolved all that was expected up to then.
    resumed_at: monitoring was paused until then. outages: the watchdog's, in which pings were lost.
    """

    schedule: Schedule | None = None
    runs: Sequence[Run] = ()
    seen: datetime | None = None
    waived: datetime | None = None
    resumed_at: datetime | None = None
    outages: Sequence[Span] = ()

    @property
    def running_since(self) -> datetime | None:
        """When the last of the runs in progress began; None between runs."""
        return max((run.at for run in self.runs if run.is_open and not _successor(run, self.runs)), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """When the next run is expected; after `deadline` it did not start."""

    at: datetime
    deadline: datetime


def next_due(job: Job) -> Due | None:
    """The next expected run that has not shown up; None without a schedule.

    A run in progress within its time explains why the next one did not start. Nothing is known about times at which the
    watchdog was offline.
    """
    schedule = job.schedule
    if schedule is None:
        return None
    anchor = _shown_up(job, schedule)
    after = max(moment for moment in (anchor, job.waived) if moment is not None)
    at = schedules.next_after(schedule, after, anchor)
    grace = timedelta(seconds=schedule.grace)
    while at is not None and (outage := _outage_in(job, at - EARLY, at + grace)):
        at = schedules.next_after(schedule, max(at, outage.end), anchor)
    return None if at is None else Due(at=at, deadline=at + grace)


def _shown_up(job: Job, schedule: Schedule) -> datetime:
    """From when on the next run is expected."""
    last = max((run.at for run in job.runs), default=None)
    served = None if last is None else _served(schedule, last)
    busy = (run.ended or _limit(schedule, run) for run in job.runs if run.began)
    moments = (schedule.since, job.resumed_at, job.seen, served, *busy)
    return max(moment for moment in moments if moment is not None)


def _served(schedule: Schedule, at: datetime) -> datetime:
    """The time that a start at this moment is for: itself, or the next time if that is a moment away."""
    following = None if schedule.kind == PERIOD else schedules.next_after(schedule, at, at)
    if following is None or following - at > EARLY:
        return at
    second = schedules.next_after(schedule, following, at)
    gap = None if second is None else second - following
    return following if gap is None or following - at <= gap / EARLY_SHARE else at


def _limit(schedule: Schedule, run: Run) -> datetime | None:
    return None if schedule.longest is None else run.at + timedelta(seconds=schedule.longest)


def _outage_in(job: Job, start: datetime, end: datetime) -> Span | None:
    return next((span for span in job.outages if span.end > start and span.start < end), None)


def overlong(job: Job) -> Iterator[tuple[Run, datetime]]:
    """Runs in progress with the time at which they take too long, the oldest first.

    The end of a run may have been lost while the watchdog was offline, so such a run is not judged. One that took too
    long is over once a later run has succeeded.
    """
    schedule = job.schedule
    if schedule is None:
        return
    for run in job.runs:
        limit = _limit(schedule, run) if run.is_open else None
        if limit is None or _is_before(run, job.resumed_at):
            continue
        successor = _successor(run, job.runs)
        is_over = successor is not None and successor.ended is not None and successor.ended >= limit
        if not is_over and not _outage_in(job, run.at, limit):
            yield run, limit


def _is_before(run: Run, resumed_at: datetime | None) -> bool:
    return resumed_at is not None and run.at < resumed_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """The runs that began for the same scheduled time as the last one; the next time is `until`.

    clock_set_back: an hour of it came twice. Schedulers differ in what they do then.
    """

    runs: Sequence[Run]
    until: datetime
    clock_set_back: bool = False


def last_slot(job: Job) -> Slot | None:
    """None without runs, and for a schedule that nobody chose. A run after a failed one is a retry and not counted.

    Nor is one from before the schedule was set, which was for another, or before monitoring was resumed.
    """
    schedule = job.schedule
    if schedule is None or schedule.kind == NONE or schedule.is_default:
        return None
    judged = [run for run in job.runs if run.at >= schedule.since and not _is_before(run, job.resumed_at)]
    ordered = sorted(judged, key=lambda run: run.at)
    if not ordered:
        return None
    served = _served(schedule, ordered[-1].at)
    if schedule.kind == PERIOD:
        half = timedelta(seconds=schedule.period / 2)
        until, same = served + half, [run for run in ordered if run.at > served - half]
    else:
        until = schedules.next_after(schedule, served, served) or served
        # From the last one back: usually the one before it is of another time.
        same = [*takewhile(lambda run: _reaches(schedule, run, until), reversed(ordered))][::-1]
    counted = [run for run in same if run.ok is not False]
    return Slot(runs=counted, until=until, clock_set_back=_is_set_back(schedule, served, until))


def _is_set_back(schedule: Schedule, start: datetime, end: datetime) -> bool:
    before, after = start.astimezone(schedule.zone).utcoffset(), end.astimezone(schedule.zone).utcoffset()
    return before is not None and after is not None and after < before


def _reaches(schedule: Schedule, run: Run, following: datetime) -> bool:
    """Whether the next time after a run's own is `following`, so both belong to one slot."""
    served = _served(schedule, run.at)
    return (schedules.next_after(schedule, served, served) or served) == following


def turning_points(job: Job) -> Iterator[datetime]:
    """When time alone may change what is wrong with the job."""
    if due := next_due(job):
        yield due.deadline
    yield from (limit for _, limit in overlong(job))
    if slot := last_slot(job):
        yield slot.until


def encode(runs: Sequence[Run]) -> list[dict[str, Any]]:
    encoded: list[dict[str, Any]] = msgspec.to_builtins(list(runs))
    return encoded


def decode(stored: Any) -> list[Run]:
    return msgspec.convert(stored or [], list[Run])
