"""When to retry. Pure: no Django, no clock, no randomness; the jitter is passed in."""

from datetime import datetime, timedelta
from typing import Final

DELAYS: Final = (5, 30, 2 * 60, 10 * 60, 30 * 60, 3600, 2 * 3600, 4 * 3600)
LIFETIME: Final = timedelta(hours=24)
# Longer than this, and the alerts would be useless.
MAX_RETRY_AFTER: Final = 3600.0
# How long a failing channel waits at most. Short, because the next alert is also the probe that finds it working again.
MAX_BACKOFF: Final = 5 * 60.0


def next_attempt(
    *, attempt: int, first_at: datetime, now: datetime, retry_after: float | None = None, jitter: float = 0.0
) -> datetime | None:
    """When to retry a delivery; None to give up, 24 hours after `first_at`.

    `attempt` counts the attempts so far, from 1. `retry_after` is in seconds. `jitter` (0 to 1) adds up to a tenth.
    """
    wait = max(_delay(attempt), _capped(retry_after)) * (1 + jitter / 10)
    at = now + timedelta(seconds=wait)
    return at if at <= first_at + LIFETIME else None


def back_off_until(*, failures: int, now: datetime, retry_after: float | None = None, jitter: float = 0.0) -> datetime:
    """Until when a whole channel waits after `failures` failed attempts in a row, from 1."""
    wait = max(min(_delay(failures), MAX_BACKOFF), _capped(retry_after)) * (1 + jitter / 10)
    return now + timedelta(seconds=wait)


def _delay(attempt: int) -> float:
    return float(DELAYS[min(attempt, len(DELAYS)) - 1])


def _capped(retry_after: float | None) -> float:
    return min(retry_after or 0.0, MAX_RETRY_AFTER)
