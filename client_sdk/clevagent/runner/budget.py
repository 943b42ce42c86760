"""How often the runner may restart a target by itself while the server cannot be asked. Pure: the clock is passed in.

The numbers are those of the server's own budget: 3 in an hour, 10 in a day, with 1, 5 and 15 minutes after each.
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
class Verdict:
    """`wait` is in seconds, 0 when it may be done now; `gave_up` means that only a person goes on from here."""

    wait: float = 0.0
    gave_up: bool = False
    why: str = ""

    @property
    def allowed(self) -> bool:
        return not self.gave_up and self.wait <= 0


def decide(restarts: Sequence[float], now: float) -> Verdict:
    """Whether one more restart may be made of a target that is down. Times are Unix seconds, `restarts` those made.

    Each restart is given its delay to work before the next one is made, and the last one before it is given up. A
    clock that was set back makes past restarts lie ahead: they count as made now.
    """
    made = sorted(min(at, now) for at in restarts)
    hour = sum(at > now - HOUR for at in made)
    day = sum(at > now - DAY for at in made)
    wait = made[-1] + DELAYS[min(hour, MAX_PER_HOUR) - 1] - now if hour else 0.0
    if wait > 0:
        return Verdict(wait, why=f"restart {hour} within the hour is given time")
    if hour >= MAX_PER_HOUR:
        return Verdict(gave_up=True, why=f"gave up: restarted {hour} times within an hour")
    if day >= MAX_PER_DAY:
        return Verdict(gave_up=True, why=f"gave up: restarted {day} times within a day")
    return Verdict(why=f"restart {hour + 1} of {MAX_PER_HOUR} within an hour")


def kept(restarts: Sequence[float], now: float) -> list[float]:
    """The restarts that still count."""
    return [at for at in restarts if at > now - DAY]
