"""What is said to the server of a target, from what was seen of it. Pure: no clock, no I/O.

The server takes a runner's `error` that begins with "Not responding" as "the target is down", its `warning` as "the
runner cannot look", which opens, changes and resolves nothing, and `shutdown` as "stopped on purpose"; each of them
keeps the alarm for silence away.
"""

from __future__ import annotations

from dataclasses import dataclass

from .backends.base import Observation, State

DOWN = "Not responding: "
UNSURE = "State not known: "
HELD = "Stopped on request"
MAX_SAID_LENGTH = 500


@dataclass(frozen=True)
class StatusReport:
    """The `status` and `message` of a heartbeat."""

    status: str
    message: str = ""


def claim(seen: Observation, *, held: bool = False, acting: str = "") -> StatusReport:
    """What to say now; `acting` is the restart or stop that is under way, if one is.

    Who cannot look says neither that it runs nor that it does not.
    """
    if held:
        return StatusReport("shutdown", HELD)
    if seen.state is State.RUNNING:
        return StatusReport("ok")
    if seen.state is State.STOPPED and not acting:
        return StatusReport("error", (DOWN + (seen.why or "it does not run"))[:MAX_SAID_LENGTH])
    why = f"a {acting} is under way" if acting else seen.why or "it could not be looked at"
    return StatusReport("warning", (UNSURE + why)[:MAX_SAID_LENGTH])
