"""https://github.com/VrianCao/Uptimer/issues/28

The time before a monitor existed counts against its uptime.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from agents.reporting.availability import Known, days, share

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def test_time_before_the_agent_does_not_count() -> None:
    young = Known(NOW - timedelta(minutes=7), NOW)
    shown = days([], young, NOW, UTC, 30)
    assert share(shown, young) == 100
    assert [day.state for day in shown].count("well") == 1
