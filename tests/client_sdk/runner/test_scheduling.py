"""Delays between requests to the server."""

from __future__ import annotations

from clevagent.runner.scheduling import RetryDelay


def test_delay_doubles_and_recovers() -> None:
    delay = RetryDelay(normal=10, maximum=60)
    waits = [delay.next(False) for _ in range(5)]
    for wait, about in zip(waits, (10, 20, 40, 60, 60), strict=True):
        assert about * 0.8 <= wait <= about * 1.2
    assert delay.next(True) == 10
    assert delay.next(False) <= 12


def test_delay_is_at_least_retry_after() -> None:
    assert RetryDelay(normal=10, maximum=60).next(False, retry_after=300) == 300


def test_delay_survives_many_failures() -> None:
    assert RetryDelay(normal=10, maximum=60, failures=100_000).next(False) <= 72
