"""Days of a status page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from agents.reporting.availability import Known, Trouble, days, lines, share

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=400)


def trouble(began: float, ended: float | None, kind: str = "crash", *, critical: bool = True) -> Trouble:
    """From and to so many hours ago."""
    return Trouble(
        kind, critical, NOW - timedelta(hours=began), None if ended is None else NOW - timedelta(hours=ended)
    )


def states(*troubles: Trouble, count: int = 3, known_since: datetime = LONG_AGO) -> list[tuple[str, float]]:
    """Each day's state and its hours without work."""
    known = Known(known_since, NOW)
    return [(day.state, day.down / 3600) for day in days(troubles, known, NOW, UTC, count)]


@pytest.mark.parametrize(
    ("troubles", "shown"),
    [
        ([], [("well", 0), ("well", 0), ("well", 0)]),
        ([trouble(2, 1)], [("well", 0), ("well", 0), ("down", 1)]),
        ([trouble(2, None)], [("well", 0), ("well", 0), ("down", 2)]),
        ([trouble(14, 10)], [("well", 0), ("down", 2), ("down", 2)]),  # over midnight
        ([trouble(3, 1), trouble(2, None, "stalled")], [("well", 0), ("well", 0), ("down", 3)]),  # counted once
        ([trouble(3, 1, "loop")], [("well", 0), ("well", 0), ("troubled", 0)]),
        ([trouble(3, 1, "error", critical=False)], [("well", 0), ("well", 0), ("troubled", 0)]),
        ([trouble(77 / 3600, 0)], [("well", 0), ("well", 0), ("troubled", 77 / 3600)]),  # a brief outage
        ([trouble(n, n - 0.1) for n in range(2, 5)], [("well", 0), ("well", 0), ("down", pytest.approx(0.3))]),
    ],
)
def test_day_shows_its_worst_state(troubles: list[Trouble], shown: list[tuple[str, float]]) -> None:
    assert states(*troubles) == shown


def test_days_before_the_agent_do_not_count() -> None:
    known = Known(NOW - timedelta(hours=24), NOW)
    shown = days([trouble(6, None)], known, NOW, UTC, 3)
    assert [day.state for day in shown] == ["unknown", "well", "down"]
    assert share(shown, known) == 75.0


def test_days_are_in_the_projects_zone() -> None:
    tokyo = ZoneInfo("Asia/Tokyo")  # there it is 21:00
    shown = days([trouble(22, 21.5)], Known(LONG_AGO, NOW), NOW, tokyo, 2)
    assert [day.state for day in shown] == ["down", "well"]


def test_new_agent_has_full_uptime() -> None:
    assert share(days([], Known(NOW, NOW), NOW, UTC), Known(NOW, NOW)) == 100.0


def test_downtime_never_rounds_to_full_uptime() -> None:
    known = Known(LONG_AGO, NOW)
    assert f"{share(days([trouble(0.0025, 0)], known, NOW, UTC), known):.2f}" == "99.99"


def test_time_without_monitoring_is_unknown() -> None:
    def shown(known: Known | None) -> list[str]:
        return [day.state for day in days([], known, NOW, UTC, 3)]

    paused_yesterday = NOW - timedelta(hours=20)
    assert shown(None) == ["unknown"] * 3, "it never reported"
    assert shown(Known(LONG_AGO, paused_yesterday)) == ["well", "well", "unknown"]
    assert shown(Known(LONG_AGO, NOW - timedelta(days=30))) == ["unknown"] * 3


def test_days_without_problems_are_lines() -> None:
    known = Known(NOW - timedelta(days=5, hours=1), NOW)
    shown = days([trouble(26, 25), trouble(3, 2, "loop")], known, NOW, UTC, 8)
    assert [day.state for day in shown] == ["unknown"] * 2 + ["well"] * 4 + ["down", "troubled"]
    assert lines(shown) == [("unknown", "M0 5h2"), ("well", "M2 5h4")]
