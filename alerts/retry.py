"""When to try again. Pure: no Django, no clock, no dice; the jitter is passed in."""

from datetime import datetime, timedelta
from typing import Final

DELAYS: Final = (5, 30, 2 * 60, 10 * 60, 30 * 60, 3600, 2 * 3600, 4 * 3600)
LIFETIME: Final = timedelta(hours=24)
# A receiver may ask for patience, but not for so much that its alerts are no use.
LONGEST_RETRY_AFTER: Final = 3600.0
# How long a channel rests after a failure. Short, because a fresh alert is also how we see that it works again.
LONGEST_PAUSE: Final = 5 * 60.0


def next_attempt(
    *, attempt: int, first_at: datetime, now: datetime, retry_after: float | None = None, jitter: float = 0.0
) -> datetime | None:
    """When to try a delivery again; None when it is given up, 24 hours after `first_at`.

    `attempt` counts those made so far, from 1. `retry_after` is in seconds. `jitter` from 0 to 1 adds up to a tenth.
    """
    wait = max(_delay(attempt), _asked(retry_after)) * (1 + jitter / 10)
    at = now + timedelta(seconds=wait)
    return at if at <= first_at + LIFETIME else None


def pause_until(*, failures: int, now: datetime, retry_after: float | None = None, jitter: float = 0.0) -> datetime:
    """Until when a whole channel rests after `failures` failed attempts in a row, from 1."""
    wait = max(min(_delay(failures), LONGEST_PAUSE), _asked(retry_after)) * (1 + jitter / 10)
    return now + timedelta(seconds=wait)


def _delay(attempt: int) -> float:
    return float(DELAYS[min(attempt, len(DELAYS)) - 1])


def _asked(retry_after: float | None) -> float:
    return min(retry_after or 0.0, LONGEST_RETRY_AFTER)
