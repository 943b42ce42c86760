"""The runner's own restart budget."""

from __future__ import annotations

import pytest
from clevagent.runner import budget

NOW = 1_000_000.0
MINUTE = 60.0
HOUR = 3600.0


@pytest.mark.parametrize(
    ("restarts", "wait", "gave_up"),
    [
        ([], 0, False),
        ([10], 50, False),
        ([MINUTE], 0, False),
        ([3 * MINUTE, MINUTE], 4 * MINUTE, False),
        ([10 * MINUTE, 5 * MINUTE], 0, False),
        ([20 * MINUTE, 15 * MINUTE, 5 * MINUTE], 10 * MINUTE, False),
        ([30 * MINUTE, 25 * MINUTE, 15 * MINUTE], 0, True),
        ([HOUR, 30 * MINUTE, 15 * MINUTE], 0, False),
        ([hours * HOUR for hours in range(2, 12)], 0, True),
        ([hours * HOUR for hours in range(2, 11)], 0, False),
        ([hours * HOUR for hours in range(24, 40)], 0, False),
    ],
)
def test_restart_limits_and_delays(restarts: list[float], wait: float, gave_up: bool) -> None:
    decision = budget.decide([NOW - ago for ago in restarts], NOW)
    assert (decision.wait, decision.gave_up) == (wait, gave_up)
    assert decision.allowed == (not wait and not gave_up)


def test_clock_set_back_allows_no_more_restarts() -> None:
    assert budget.decide([NOW + HOUR], NOW).wait == MINUTE
    assert budget.decide([NOW + HOUR] * 3, NOW).wait == 15 * MINUTE


def test_old_restarts_are_dropped() -> None:
    assert budget.recent([NOW - 25 * HOUR, NOW - HOUR], NOW) == [NOW - HOUR]
