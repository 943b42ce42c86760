from datetime import UTC, datetime, timedelta

import pytest

from alerts.retry import next_attempt, pause_until

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("attempt", "seconds"),
    [(1, 5), (2, 30), (3, 120), (4, 600), (5, 1800), (6, 3600), (7, 7200), (8, 14400), (9, 14400), (40, 14400)],
)
def test_the_wait_grows_with_every_attempt(attempt: int, seconds: int) -> None:
    assert next_attempt(attempt=attempt, first_at=START, now=START) == START + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("asked", "seconds"), [(None, 30), (0, 30), (10, 30), (31, 31), (600, 600), (3600, 3600), (86400, 3600)]
)
def test_a_receiver_may_ask_for_a_longer_wait_up_to_an_hour(asked: float | None, seconds: int) -> None:
    at = next_attempt(attempt=2, first_at=START, now=START, retry_after=asked)
    assert at == START + timedelta(seconds=seconds)


def test_jitter_adds_at_most_a_tenth() -> None:
    assert next_attempt(attempt=2, first_at=START, now=START, jitter=1.0) == START + timedelta(seconds=33)


@pytest.mark.parametrize(("hours", "tried_again"), [(0, True), (19.9, True), (20, True), (20.1, False), (30, False)])
def test_it_is_given_up_when_the_next_try_would_be_a_day_late(hours: float, tried_again: bool) -> None:
    again = next_attempt(attempt=8, first_at=START, now=START + timedelta(hours=hours))
    assert (again is not None) is tried_again


def test_a_dead_channel_is_tried_thirteen_times_over_most_of_a_day() -> None:
    tries: list[datetime] = []
    now: datetime | None = START
    while now is not None:
        tries.append(now)
        now = next_attempt(attempt=len(tries), first_at=START, now=now)
    assert len(tries) == 13
    assert timedelta(hours=20) < tries[-1] - START <= timedelta(hours=24)


@pytest.mark.parametrize(("failures", "seconds"), [(1, 5), (2, 30), (3, 120), (4, 300), (5, 300), (1000, 300)])
def test_a_channel_rests_for_five_minutes_at_most(failures: int, seconds: int) -> None:
    assert pause_until(failures=failures, now=START) == START + timedelta(seconds=seconds)


def test_a_channel_rests_for_as_long_as_its_receiver_asked() -> None:
    assert pause_until(failures=1, now=START, retry_after=900) == START + timedelta(seconds=900)
