"""https://github.com/PostHog/posthog/issues/98250

Correcting by the request's time moves events by its delay, and changes their order.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from agents.domain.heartbeat import Beat
from agents.domain.wire import sender_clock

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


def test_delay_of_a_request_is_no_skew() -> None:
    """Received three seconds after it was sent."""
    beat = Beat("bot", sent_at=NOW - timedelta(seconds=13), age=10.0)
    assert sender_clock.skew(beat.sent_at, beat.age, NOW) == timedelta(0)
