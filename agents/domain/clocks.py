"""The two clocks of an agent: when the next heartbeat and the next progress are due. Pure: no Django, no clock.

Durations are seconds. Where the numbers come from:
60 s is the published client's default interval; the smallest grace and timeouts are the contract's (5 s, 5 minutes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

DEFAULT_INTERVAL: Final = 60.0
SMALLEST_GRACE: Final = 5.0
# A learned rhythm is not trusted below this: a burst of pings must not make a long model call look like death.
MIN_LEARNED: Final = 30.0
# Beats needed before a learned rhythm may be shorter than the default.
LEARNED_AFTER: Final = 6
MIN_PROGRESS: Final = 300.0
PROGRESS_UNLEARNED: Final = 1800.0
# After an outage of ours a client gets this long to report again, or one interval if that is shorter.
MAX_SETTLE: Final = 60.0
SETTLE_EXTRA: Final = 5.0
# How far one gap may raise what is usual: a night's outage is no rhythm, but two long gaps in a row are.
RAISE_FACTOR: Final = 4.0
FALL_SHARE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which the watchdog itself did not watch."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Settings:
    """What a person set, of an agent or its project. None: not set. Before `resumed_at` it was paused."""

    interval: float | None = None
    grace: float | None = None
    progress_timeout: float | None = None
    resumed_at: datetime | None = None


class Rhythm(Protocol):
    """The columns of the hot row that the clocks read."""

    beats: int
    last_beat_at: datetime | None
    last_progress_at: datetime | None
    usual_gap: float | None
    learned_progress_timeout: float | None
    quiet_until: datetime | None
    declared_interval: float | None
    declared_progress_timeout: float | None
    waiting_until: datetime | None


def interval(settings: Settings, rhythm: Rhythm) -> float:
    """Seconds between heartbeats: set by a person, else declared by the client, else learned, else 60."""
    return settings.interval or rhythm.declared_interval or _learned(rhythm)


def _learned(rhythm: Rhythm) -> float:
    if rhythm.usual_gap is None:
        return DEFAULT_INTERVAL
    smallest = MIN_LEARNED if rhythm.beats >= LEARNED_AFTER else DEFAULT_INTERVAL
    return max(smallest, rhythm.usual_gap)


def grace(settings: Settings, every: float) -> float:
    """Seconds past the interval: set by a person, else one interval, at least 5."""
    return settings.grace if settings.grace is not None else max(SMALLEST_GRACE, every)


def progress_timeout(settings: Settings, rhythm: Rhythm) -> float:
    """Seconds without progress: set, else declared, else learned (see `rules/rhythm.py`), else 30 minutes."""
    return _progress_given(settings, rhythm) or rhythm.learned_progress_timeout or PROGRESS_UNLEARNED


def _progress_given(settings: Settings, rhythm: Rhythm) -> float | None:
    return settings.progress_timeout or rhythm.declared_progress_timeout


def learn(usual: float | None, gap: float, smallest: float) -> float:
    """What is usual after one more gap: up at once, though at most fourfold, and down slowly, a tenth of the way."""
    if usual is None:
        return gap
    bounded = min(gap, max(usual, smallest) * RAISE_FACTOR)
    return max(bounded, usual + (bounded - usual) * FALL_SHARE)


@dataclass(frozen=True, slots=True)
class Clock:
    """`due_at` is when the next one should have come; past `deadline` it counts as missing."""

    due_at: datetime
    deadline: datetime


def alive(settings: Settings, rhythm: Rhythm, outages: Sequence[Span] = ()) -> Clock | None:
    """The clock that any heartbeat resets; None before the first one."""
    if rhythm.last_beat_at is None:
        return None
    every = interval(settings, rhythm)
    since = _latest(rhythm.last_beat_at, settings.resumed_at)
    return _moved(since + timedelta(seconds=every), grace(settings, every), since, every, outages)


def progress(settings: Settings, rhythm: Rhythm, outages: Sequence[Span] = ()) -> Clock | None:
    """The clock that only progress resets; None for an agent that never showed any. A declared wait stops it.

    Where nobody gave a timeout, a start and the nights that the agent is known for stop it, too.
    """
    if rhythm.last_progress_at is None:
        return None
    timeout = progress_timeout(settings, rhythm)
    since = _latest(rhythm.last_progress_at, rhythm.waiting_until, settings.resumed_at)
    due = since + timedelta(seconds=timeout)
    if not _progress_given(settings, rhythm):
        due = _latest(due, rhythm.quiet_until)
    return _moved(due, 0, since, timeout, outages)


def _latest(first: datetime, *others: datetime | None) -> datetime:
    return max(first, *(other or first for other in others))


def _moved(due: datetime, allowed: float, since: datetime, every: float, outages: Sequence[Span]) -> Clock:
    """Move a deadline by what our own outages (in order, apart) took of it; let clients settle after the last one."""
    settle = timedelta(seconds=min(every, MAX_SETTLE) + SETTLE_EXTRA)
    deadline = due + timedelta(seconds=allowed)
    for outage in outages:
        if outage.end > since and outage.start < deadline:
            taken = outage.end - max(outage.start, since)
            due, deadline = due + taken, max(deadline + taken, outage.end + settle)
    return Clock(due, deadline)
