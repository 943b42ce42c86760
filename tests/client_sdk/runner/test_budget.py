"""The runner's own budget, by tables."""

from __future__ import annotations

import pytest
from clevagent.runner import budget
from clevagent.runner.backends.base import Observation, State
from clevagent.runner.scheduling import RetryDelay
from clevagent.runner.status_report import StatusReport, status_report

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
def test_three_an_hour_and_ten_a_day_with_1_5_and_15_minutes_after_each(
    restarts: list[float], wait: float, gave_up: bool
) -> None:
    verdict = budget.decide([NOW - ago for ago in restarts], NOW)
    assert (verdict.wait, verdict.gave_up) == (wait, gave_up)
    assert verdict.allowed == (not wait and not gave_up)


def test_a_clock_that_was_set_back_allows_no_more() -> None:
    assert budget.decide([NOW + HOUR], NOW).wait == MINUTE
    assert budget.decide([NOW + HOUR] * 3, NOW).wait == 15 * MINUTE


def test_what_no_longer_counts_is_forgotten() -> None:
    assert budget.recent([NOW - 25 * HOUR, NOW - HOUR], NOW) == [NOW - HOUR]


FAILED = Observation(State.STOPPED, why="systemd says failed (watchdog)")
BLIND = Observation(State.UNKNOWN, why="systemctl did not answer within 10 s")
RUNS = Observation(State.RUNNING)


@pytest.mark.parametrize(
    ("seen", "held", "acting", "said"),
    [
        (RUNS, False, "", StatusReport("ok")),
        (RUNS, False, "restart", StatusReport("ok")),
        (FAILED, False, "", StatusReport("error", "Not responding: systemd says failed (watchdog)")),
        (FAILED, False, "restart", StatusReport("warning", "State not known: a restart is under way")),
        (FAILED, True, "", StatusReport("shutdown", "Stopped on request")),
        (BLIND, True, "", StatusReport("shutdown", "Stopped on request")),
        (BLIND, False, "", StatusReport("warning", "State not known: systemctl did not answer within 10 s")),
        (Observation(State.UNKNOWN), False, "", StatusReport("warning", "State not known: it could not be looked at")),
        (Observation(State.STOPPED), False, "", StatusReport("error", "Not responding: it does not run")),
    ],
)
def test_what_is_claimed(seen: Observation, held: bool, acting: str, said: StatusReport) -> None:
    assert status_report(seen, held=held, acting=acting) == said


def test_the_pace_doubles_up_to_its_most_and_recovers() -> None:
    delay = RetryDelay(normal=10, maximum=60)
    waits = [delay.next(False) for _ in range(5)]
    for wait, about in zip(waits, (10, 20, 40, 60, 60), strict=True):
        assert about * 0.8 <= wait <= about * 1.2
    assert delay.next(True) == 10
    assert delay.next(False) <= 12


def test_the_pace_never_undercuts_what_the_server_asked_for() -> None:
    assert RetryDelay(normal=10, maximum=60).next(False, retry_after=300) == 300


def test_a_failure_that_lasts_for_years_is_still_counted() -> None:
    assert RetryDelay(normal=10, maximum=60, failures=100_000).next(False) <= 72
