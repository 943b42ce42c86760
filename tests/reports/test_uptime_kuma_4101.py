"""https://github.com/louislam/uptime-kuma/issues/4101

After each start of the monitoring, everybody is told that everything is down.
"""

from __future__ import annotations

from agents.domain import clocks
from agents.domain.clocks import Settings, Span
from tests.agents.domain.test_clocks import Rhythm, at


def test_own_downtime_moves_the_deadline() -> None:
    """The watchdog was away from 10 s to an hour after the last heartbeat."""
    clock = clocks.alive(Settings(interval=60), Rhythm(), [Span(at(10), at(3600))])
    assert clock is not None
    assert clock.deadline > at(3600)
