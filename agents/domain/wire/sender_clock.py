"""What a heartbeat's own times mean by our clock. Pure.

Clocks of agents are wrong by minutes or by years, and jump when they are set. So a client says two things: when it made
the heartbeat by its clock (`sent_at`), and how many seconds ago that is (`age`, by a clock that cannot be set). The age
alone tells when money was spent; both together tell how far the clock is off.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from agents.domain.heartbeat import Beat, Waiting

# The longest a client keeps unsent heartbeats; a clock further behind is wrong.
OLDEST: Final = timedelta(days=7)
# Less is the network's delay, and misleads nobody.
MIN_SKEW: Final = timedelta(seconds=5)
# Seconds. A younger heartbeat counts from its arrival: the rest is the network's delay.
FRESH: Final = 2.0
NONE: Final = timedelta(0)


def ahead(beats: Iterable[Beat], received_at: datetime) -> timedelta:
    """How far the sender's clock is ahead of ours, as far as times without an age show it.

    No heartbeat can be sent after it was received.
    """
    sent = [beat.sent_at for beat in beats if beat.age is None and _has_zone(beat.sent_at)]
    return max([NONE, *(at - received_at for at in sent if at)])


def made_at(beat: Beat, received_at: datetime, ahead: timedelta = NONE) -> datetime:
    """When a heartbeat was made and its money spent, at most seven days ago."""
    oldest = received_at - OLDEST
    if beat.age is not None:
        return max(oldest, received_at - timedelta(seconds=beat.age))
    if beat.sent_at is None or not _has_zone(beat.sent_at):
        return received_at
    # As a duration: in a batch with a heartbeat from year 9999, `sent_at - ahead` lies before year 1.
    return min(oldest + max(NONE, beat.sent_at - oldest - ahead), received_at)


def skew(sent_at: datetime | None, age: float | None, received_at: datetime) -> timedelta:
    """How far the sender's clock is ahead of ours, negative if behind; zero if it is right or unknown.

    Without an age, a heartbeat from the past may have waited, but none comes from the future.
    """
    if sent_at is None or not _has_zone(sent_at):
        return NONE
    found = sent_at - (received_at - timedelta(seconds=age or 0))
    return found if found >= MIN_SKEW or (found <= -MIN_SKEW and age is not None) else NONE


def correct(beats: Iterable[Beat], received_at: datetime) -> None:
    """Move the times that heartbeats name, of waits and running calls, from the sender's clock to ours."""
    beats = list(beats)
    fast = ahead(beats, received_at)
    for beat in beats:
        off = skew(beat.sent_at, beat.age, received_at)
        if beat.age is None and beat.sent_at is not None:
            off = fast if fast >= MIN_SKEW else NONE
        if not off:
            continue
        if isinstance(beat.waiting, Waiting) and beat.waiting.until:
            beat.waiting.until = _moved(beat.waiting.until, off)
        if beat.doing:
            beat.doing.since = _moved(beat.doing.since, off)


def _moved(at: datetime, off: timedelta) -> datetime:
    try:
        return at - off
    except OverflowError:  # in year 1 or 9999
        return at


def _has_zone(at: datetime | None) -> bool:
    return at is not None and at.tzinfo is not None
