"""Durations and times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from teams import times

NOW = datetime(2026, 11, 23, 20, 25, 57, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"), (0, "0 s"), (34.9, "34 s"), (60, "1 min"), (47 * 60, "47 min"), (3_600, "1 h"),
        (2 * 3_600 + 300, "2 h 5 min"), (12 * 3_600 + 300, "12 h"), (86_400, "1 day"),
        (2 * 86_400 + 7_200, "2 days 2 h"), (30 * 86_400, "30 days"),
    ],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert times.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "just now"), (-5, "just now"), (7, "7 s ago"), (720, "12 min ago")]
)
def test_times_past(seconds: float, text: str) -> None:
    assert times.ago(NOW - timedelta(seconds=seconds), NOW) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "just now"), (7, "in 7 s"), (720, "in 12 min"), (-0.4, "just now"), (-7, "7 s ago")]
)
def test_past_and_future_relative_times(seconds: float, text: str) -> None:
    assert times.relative(NOW + timedelta(seconds=seconds), NOW) == text


def test_exact_time_in_zone() -> None:
    assert times.exact(NOW, UTC) == "23 Nov 2026, 20:25:57 UTC"
    assert times.exact(NOW, ZoneInfo("Asia/Tokyo")) == "24 Nov 2026, 05:25:57 JST"
