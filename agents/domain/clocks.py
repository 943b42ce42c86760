"""An agent's two deadlines: for its next heartbeat and for its next progress. Pure: no Django, no clock.

Durations are seconds. 60 s is the published client's default interval; the smallest grace period (5 s) and progress
timeout (5 minutes) come from the public contract.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol

DEFAULT_INTERVAL: Final = 60.0
MIN_GRACE: Final = 5.0
# Up to this many heartbeats without a known interval may be somebody's trial, and no rhythm follows from them yet.
MAX_TRIAL: Final = 2
# Seconds after which such an agent is down all the same. A product decision.
TRIAL_ALLOWED: Final = 3_600.0
# No learned interval is shorter: after a burst of pings, one long model call must not look like a crash.
MIN_LEARNED: Final = 30.0
# Heartbeats before a learned interval may be shorter than the default.
LEARNED_AFTER: Final = 6
MIN_PROGRESS: Final = 300.0
DEFAULT_PROGRESS_TIMEOUT: Final = 1800.0
# After a watchdog outage clients get this long to report again, or one interval if that is shorter.
MAX_SETTLE: Final = 60.0
SETTLE_EXTRA: Final = 5.0
# How far a single gap may raise the learned interval: one night offline is no pattern, two long gaps in a row are.
RAISE_FACTOR: Final = 4.0
FALL_SHARE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Span:
    """A watchdog outage."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Set by a person on the agent or its project. None: not set. Before `resumed_at` monitoring was paused."""

    interval: float | None = None
    grace: float | None = None
    progress_timeout: float | None = None
    resumed_at: datetime | None = None


class BeatRhythm(Protocol):
    """The hot-row columns that the deadline for the next heartbeat depends on."""

    beats: int
    last_beat_at: datetime | None
    usual_gap: float | None
    declared_interval: float | None


class Rhythm(BeatRhythm, Protocol):
    """The hot-row columns that both deadlines depend on."""

    last_progress_at: datetime | None
    learned_progress_timeout: float | None
    quiet_until: datetime | None
    declared_progress_timeout: float | None
    waiting_until: datetime | None


def interval(settings: Settings, rhythm: BeatRhythm) -> float:
    """Seconds between heartbeats: set by a person, else declared by the client, else learned, else 60."""
    return settings.interval or rhythm.declared_interval or _learned_interval(rhythm)


def _learned_interval(rhythm: BeatRhythm) -> float:
    if rhythm.usual_gap is None:
        return DEFAULT_INTERVAL
    shortest = MIN_LEARNED if rhythm.beats >= LEARNED_AFTER else DEFAULT_INTERVAL
    return max(shortest, rhythm.usual_gap)


def is_trial(settings: Settings, rhythm: BeatRhythm) -> bool:
    """Whether it reported once or twice and nobody said how often it will."""
    return rhythm.beats <= MAX_TRIAL and not (settings.interval or rhythm.declared_interval)


def grace(settings: Settings, every: float) -> float:
    """Seconds after the interval: set by a person, else one interval, at least 5."""
    return settings.grace if settings.grace is not None else max(MIN_GRACE, every)


def progress_timeout(settings: Settings, rhythm: Rhythm) -> float:
    """Seconds without progress: set, else declared, else learned (`rules/observers/rhythm.py`), else 30 minutes."""
    return _explicit_progress_timeout(settings, rhythm) or rhythm.learned_progress_timeout or DEFAULT_PROGRESS_TIMEOUT


def _explicit_progress_timeout(settings: Settings, rhythm: Rhythm) -> float | None:
    return settings.progress_timeout or rhythm.declared_progress_timeout


def learn(usual: float | None, gap: float, smallest: float) -> float:
    """The learned gap after one more: it rises at once, at most fourfold, and falls by a tenth of the difference."""
    if usual is None:
        return gap
    bounded = min(gap, max(usual, smallest) * RAISE_FACTOR)
    return max(bounded, usual + (bounded - usual) * FALL_SHARE)


@dataclass(frozen=True, slots=True)
class Clock:
    """`due_at` is when the next event is expected; after `deadline` it counts as missing.

    `offline` is how long the watchdog was offline since the last event, and could not have received it.
    """

    due_at: datetime
    deadline: datetime
    offline: timedelta = field(default=timedelta(0), compare=False)


def alive(settings: Settings, rhythm: BeatRhythm, outages: Sequence[Span] = ()) -> Clock | None:
    """The deadline that every heartbeat resets; None before the first heartbeat."""
    if rhythm.last_beat_at is None:
        return None
    every = interval(settings, rhythm)
    since = _latest(rhythm.last_beat_at, settings.resumed_at)
    if is_trial(settings, rhythm):
        return _moved_by_outages(since + timedelta(seconds=TRIAL_ALLOWED), 0, since, every, outages)
    due = since + timedelta(seconds=every)
    return _moved_by_outages(due, grace(settings, every), since, every, outages)


def progress(settings: Settings, rhythm: Rhythm, outages: Sequence[Span] = ()) -> Clock | None:
    """The deadline that only progress resets; None for an agent that never showed any. A declared wait suspends it.

    Unless a timeout was set or declared, process starts and known rest periods suspend it as well.
    """
    if rhythm.last_progress_at is None:
        return None
    timeout = progress_timeout(settings, rhythm)
    since = _latest(rhythm.last_progress_at, rhythm.waiting_until, settings.resumed_at)
    due = since + timedelta(seconds=timeout)
    if not _explicit_progress_timeout(settings, rhythm):
        due = _latest(due, rhythm.quiet_until)
        if is_trial(settings, rhythm):
            due = _latest(due, since + timedelta(seconds=TRIAL_ALLOWED))
    return _moved_by_outages(due, 0, since, timeout, outages)


def _latest(first: datetime, *others: datetime | None) -> datetime:
    latest = first
    for other in others:
        if other is not None and other > latest:
            latest = other
    return latest


def _moved_by_outages(due: datetime, allowed: float, since: datetime, every: float, outages: Sequence[Span]) -> Clock:
    """Extend a deadline by the watchdog outages within it (ordered, not overlapping), plus time to report again."""
    settle = timedelta(seconds=min(every, MAX_SETTLE) + SETTLE_EXTRA)
    deadline, offline = due + timedelta(seconds=allowed), timedelta(0)
    for outage in outages:
        if outage.end > since and outage.start < deadline:
            taken = outage.end - max(outage.start, since)
            due, deadline = due + taken, max(deadline + taken, outage.end + settle)
            offline += taken
    return Clock(due, deadline, offline)
