"""When a heartbeat was made, whatever its sender's clock says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from agents.domain.heartbeat import Beat, Doing, Waiting
from agents.domain.wire import sender_clock

AT = datetime(2026, 5, 4, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
OFFS = [timedelta(0), 26 * HOUR, -26 * HOUR, timedelta(days=-20_000), timedelta(days=20_000)]


@pytest.mark.parametrize("off", OFFS)
@pytest.mark.parametrize("age", [0.0, 90.0, 7200.0])
def test_age_alone_says_when_it_was_made(off: timedelta, age: float) -> None:
    made = AT - timedelta(seconds=age)
    beat = Beat("bot", sent_at=made + off, age=age)
    assert sender_clock.made_at(beat, AT) == made
    assert sender_clock.skew(beat.sent_at, beat.age, AT) == off


def test_nothing_is_older_than_a_week() -> None:
    assert sender_clock.made_at(Beat("bot", age=30 * 86_400.0), AT) == AT - sender_clock.OLDEST


def test_without_an_age_only_a_fast_clock_shows() -> None:
    fast, slow = Beat("bot", sent_at=AT + HOUR), Beat("bot", sent_at=AT - HOUR)
    assert sender_clock.ahead([fast], AT) == HOUR
    assert sender_clock.made_at(fast, AT, HOUR) == AT
    assert sender_clock.made_at(slow, AT) == AT - HOUR
    assert sender_clock.ahead([slow, Beat("bot"), Beat("bot", sent_at=AT.replace(tzinfo=None))], AT) == timedelta(0)


def test_network_delay_is_no_skew() -> None:
    assert sender_clock.skew(AT - timedelta(seconds=2), 0.1, AT) == timedelta(0)


@pytest.mark.parametrize("off", OFFS)
def test_waits_and_calls_move_to_our_clock(off: timedelta) -> None:
    beat = Beat("bot", sent_at=AT + off, age=0.0)
    beat.waiting, beat.doing = Waiting("approval", AT + off + HOUR), Doing("search", AT + off - HOUR)
    sender_clock.correct([beat], AT)
    assert (beat.waiting.until, beat.doing.since) == (AT + HOUR, AT - HOUR)


def test_fast_clock_without_an_age_moves_waits() -> None:
    """Of all that come in one request; what a slow clock says may be meant as it is."""
    beats = [Beat("bot", sent_at=AT + 26 * HOUR), Beat("bot", sent_at=AT + 24 * HOUR), Beat("bot", sent_at=None)]
    for beat in beats:
        beat.waiting = Waiting("approval", AT + 27 * HOUR)
    sender_clock.correct(beats, AT)
    ends = [beat.waiting.until for beat in beats if isinstance(beat.waiting, Waiting)]
    assert ends == [AT + HOUR, AT + HOUR, AT + 27 * HOUR]
    assert sender_clock.skew(AT + 26 * HOUR, None, AT) == 26 * HOUR
    assert sender_clock.skew(AT - 26 * HOUR, None, AT) == timedelta(0)


def test_times_beyond_the_calendar_stay() -> None:
    beat = Beat("bot", sent_at=AT + HOUR, age=0.0, waiting=Waiting("x", datetime.min.replace(tzinfo=UTC)))
    sender_clock.correct([beat, Beat("bot", waiting=msgspec.UNSET)], AT)
    assert isinstance(beat.waiting, Waiting)
    assert beat.waiting.until == datetime.min.replace(tzinfo=UTC)


@pytest.mark.parametrize("far", [datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)])
def test_far_clock_in_a_batch_breaks_nobody(far: datetime) -> None:
    """The others of its batch would have been made before year 1."""
    beats = [Beat("bot", sent_at=far), Beat("bot", sent_at=AT), Beat("bot", sent_at=AT - HOUR)]
    ahead = sender_clock.ahead(beats, AT)
    assert {sender_clock.made_at(beat, AT, ahead) for beat in beats} <= {AT - sender_clock.OLDEST, AT, AT - HOUR}
