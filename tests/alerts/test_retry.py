from datetime import UTC, datetime, timedelta

import pytest

from alerts.retry import back_off_until, next_attempt

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("attempt", "seconds"),
    [(1, 5), (2, 30), (3, 120), (4, 600), (5, 1800), (6, 3600), (7, 7200), (8, 14400), (9, 14400), (40, 14400)],
)
def test_delay_grows_with_every_attempt(attempt: int, seconds: int) -> None:
    assert next_attempt(attempt=attempt, first_at=START, now=START) == START + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("asked", "seconds"), [(None, 30), (0, 30), (10, 30), (31, 31), (600, 600), (3600, 3600), (86400, 3600)]
)
def test_retry_after_is_capped_at_an_hour(asked: float | None, seconds: int) -> None:
    at = next_attempt(attempt=2, first_at=START, now=START, retry_after=asked)
    assert at == START + timedelta(seconds=seconds)


def test_jitter_adds_at_most_a_tenth() -> None:
    assert next_attempt(attempt=2, first_at=START, now=START, jitter=1.0) == START + timedelta(seconds=33)


@pytest.mark.parametrize(("hours", "tried_again"), [(0, True), (19.9, True), (20, True), (20.1, False), (30, False)])
def test_no_attempt_after_24_hours(hours: float, tried_again: bool) -> None:
    again = next_attempt(attempt=8, first_at=START, now=START + timedelta(hours=hours))
    assert (again is not None) is tried_again


def test_dead_channel_is_tried_13_times_in_a_day() -> None:
    tries: list[datetime] = []
    now: datetime | None = START
    while now is not None:
        tries.append(now)
        now = next_attempt(attempt=len(tries), first_at=START, now=now)
    assert len(tries) == 13
    assert timedelta(hours=20) < tries[-1] - START <= timedelta(hours=24)


@pytest.mark.parametrize(("failures", "seconds"), [(1, 5), (2, 30), (3, 120), (4, 300), (5, 300), (1000, 300)])
def test_channel_backs_off_for_at_most_five_minutes(failures: int, seconds: int) -> None:
    assert back_off_until(failures=failures, now=START) == START + timedelta(seconds=seconds)


def test_channel_backs_off_as_long_as_asked() -> None:
    assert back_off_until(failures=1, now=START, retry_after=900) == START + timedelta(seconds=900)
