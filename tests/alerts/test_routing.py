from datetime import UTC, datetime, timedelta

import pytest

from alerts.routing import Listener, is_told, not_before

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
FRESH = Listener(1)
KNOWING = Listener(1, knows=True)
CURIOUS = Listener(1, wants_acknowledged=True)
CURIOUS_KNOWING = Listener(1, wants_acknowledged=True, knows=True)
UNAWARE = Listener(1, knows=True, unaware=True)


@pytest.mark.parametrize(
    ("event", "listener", "told"),
    [
        ("opened", FRESH, True),
        ("updated", FRESH, True),
        ("updated", KNOWING, True),
        ("reopened", FRESH, True),
        ("reopened", KNOWING, True),
        ("reopened", UNAWARE, False),
        ("acknowledged", FRESH, False),
        ("acknowledged", KNOWING, False),
        ("acknowledged", CURIOUS, False),
        ("acknowledged", CURIOUS_KNOWING, True),
        ("resolved", FRESH, False),
        ("resolved", CURIOUS, False),
        ("resolved", KNOWING, True),
        ("resolved", UNAWARE, True),
        ("command", CURIOUS_KNOWING, False),
        ("note", CURIOUS_KNOWING, False),
    ],
)
def test_who_is_told_what(event: str, listener: Listener, told: bool) -> None:
    assert is_told(event, listener) is told


@pytest.mark.parametrize(
    ("event", "reopened", "minutes"),
    [
        ("opened", 0, 0),
        ("updated", 3, 0),
        ("reopened", 1, 0),
        ("resolved", 0, 0),
        ("resolved", 1, 5),
        ("resolved", 4, 5),
    ],
)
def test_the_recovery_of_what_came_back_before_waits(event: str, reopened: int, minutes: int) -> None:
    assert not_before(event, reopened, NOW) == NOW + timedelta(minutes=minutes)
