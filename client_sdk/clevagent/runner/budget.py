"""How often the runner may restart a target by itself while the server cannot be asked. Pure: the clock is passed in.

The numbers are those of the server's own budget: 3 in an hour, 10 in a day, after 1, 5 and 15 minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

HOUR = 3600.0
DAY = 86_400.0
HOUR_MOST = 3
DAY_MOST = 10
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


def decide(restarts: Sequence[float], down_since: float, now: float) -> Verdict:
    """Whether one more restart may be made. All times are Unix seconds; `restarts` are those already made.

    A target is down for the first delay at least, which is time for its own supervisor; the others count from the
    last restart. A clock that was set back makes past restarts lie ahead: they count as made now.
    """
    made = sorted(min(at, now) for at in restarts)
    hour = sum(at > now - HOUR for at in made)
    day = sum(at > now - DAY for at in made)
    if hour >= HOUR_MOST:
        return Verdict(gave_up=True, why=f"gave up: restarted {hour} times within an hour")
    if day >= DAY_MOST:
        return Verdict(gave_up=True, why=f"gave up: restarted {day} times within a day")
    due = [min(down_since, now) + DELAYS[0], *(at + DELAYS[hour] for at in made[-1:] if hour)]
    return Verdict(max(0.0, max(due) - now), why=f"restart {hour + 1} of {HOUR_MOST} within an hour")


def kept(restarts: Sequence[float], now: float) -> list[float]:
    """The restarts that still count."""
    return [at for at in restarts if at > now - DAY]
