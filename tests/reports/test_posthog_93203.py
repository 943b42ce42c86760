"""https://github.com/PostHog/posthog/pull/93203

What a device with a wrong clock recorded is filed at the device's time.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from agents.domain.heartbeat import Beat
from agents.domain.wire import sender_clock

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.mark.parametrize("off", [timedelta(hours=-26), timedelta(days=400), timedelta(days=-20_000)])
def test_heartbeats_are_filed_at_our_time(off: timedelta) -> None:
    beat = Beat("bot", sent_at=NOW + off, age=0.5)
    assert sender_clock.made_at(beat, NOW) == NOW - timedelta(seconds=0.5)
