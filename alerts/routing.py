"""Who is told what, and when. Pure: no Django, no clock."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

# Events that say that something is wrong. Recovery is told only to those who were told one of these.
FAILURES: Final = frozenset({"opened", "updated", "reopened"})
TOLD: Final = FAILURES | {"acknowledged", "resolved"}
# An incident that came back before may do so again: its recovery waits this long before it is told.
SETTLING: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Listener:
    """A channel as routing sees it.

    `wants_acknowledged`: whether its kind tells who takes care. `knows`: it was told that this incident is wrong.
    `unaware`: the last recovery never reached it, so for its readers the incident never ended.
    """

    channel_id: int
    wants_acknowledged: bool = False
    knows: bool = False
    unaware: bool = False


def is_told(event: str, listener: Listener) -> bool:
    """Whether an event of this kind goes to this listener."""
    if event == "reopened":
        return not listener.unaware
    if event == "acknowledged":
        return listener.knows and listener.wants_acknowledged
    if event == "resolved":
        return listener.knows
    return event in FAILURES


def not_before(event: str, reopened: int, at: datetime) -> datetime:
    """The earliest time to tell it; `reopened` is how often the incident came back so far."""
    return at + SETTLING if event == "resolved" and reopened else at
