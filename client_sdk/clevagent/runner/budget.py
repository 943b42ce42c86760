"""Restart limits for times when the server is unreachable. Pure: the clock is passed in.

The limits equal the server's: 3 restarts per hour, 10 per day, with delays of 1, 5 and 15 minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

HOUR = 3600.0
DAY = 86_400.0
MAX_PER_HOUR = 3
MAX_PER_DAY = 10
DELAYS = (60.0, 300.0, 900.0)


@dataclass(frozen=True)
class RestartDecision:
    """`wait` is in seconds, 0 if a restart is allowed now; after `gave_up`, only a person can continue."""

    wait: float = 0.0
    gave_up: bool = False
    why: str = ""

    @property
    def allowed(self) -> bool:
        return not self.gave_up and self.wait <= 0


def decide(restarts: Sequence[float], now: float) -> RestartDecision:
    """Decide whether to restart a target that is down. `restarts` are the Unix times of earlier restarts.

    Each restart gets its delay to take effect before the next one, or before giving up. If the clock was set back,
    restarts in the future count as made now.
    """
    made = sorted(min(at, now) for at in restarts)
    hour = sum(at > now - HOUR for at in made)
    day = sum(at > now - DAY for at in made)
    wait = made[-1] + DELAYS[min(hour, MAX_PER_HOUR) - 1] - now if hour else 0.0
    if wait > 0:
        return RestartDecision(wait, why=f"waiting for the effect of restart {hour} within an hour")
    if hour >= MAX_PER_HOUR:
        return RestartDecision(gave_up=True, why=f"gave up: restarted {hour} times within an hour")
    if day >= MAX_PER_DAY:
        return RestartDecision(gave_up=True, why=f"gave up: restarted {day} times within a day")
    return RestartDecision(why=f"restart {hour + 1} of {MAX_PER_HOUR} within an hour")


def recent(restarts: Sequence[float], now: float) -> list[float]:
    """Return the restarts that still count."""
    return [at for at in restarts if at > now - DAY]
