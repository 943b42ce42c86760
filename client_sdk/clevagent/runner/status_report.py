"""Translates an observation into the status reported to the server. Pure: no clock, no I/O.

The server reads an `error` that starts with "Not responding" as "the target is down", a `warning` as "the runner cannot
tell", which changes nothing, and `shutdown` as "stopped on purpose". Each of them counts as a heartbeat. `intent` is
what the runner remembers of why the target is down: a source may forget that someone stopped it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .backends.base import Observation, State

DOWN = "Not responding: "
UNSURE = "State unknown: "
HELD = "Stopped on request"
ENDED = "Not running: "
# The report's `intent`: stopped or finished on purpose, or nobody knows.
STOPPED, DOUBTFUL = "stopped", "unknown"
MAX_SAID_LENGTH = 500


@dataclass(frozen=True)
class StatusReport:
    """The `status`, `message` and `intent` of a heartbeat."""

    status: str
    message: str = ""
    intent: str = field(default="", compare=False)


def status_report(seen: Observation, *, held: bool = False, acting: str = "", intent: str = "") -> StatusReport:
    """Return the status to report; `acting` is the restart or stop in progress, `intent` the remembered one, if any.

    If the runner cannot see the target, it reports neither up nor down.
    """
    if held:
        return StatusReport("shutdown", HELD, STOPPED)
    if seen.state is State.RUNNING:
        return StatusReport("ok")
    if seen.state is State.STOPPED and intent == STOPPED and not acting:
        return StatusReport("shutdown", (ENDED + (seen.why or "it was stopped"))[:MAX_SAID_LENGTH], intent)
    if seen.state is State.STOPPED and not acting:
        return StatusReport("error", (DOWN + (seen.why or "it is not running"))[:MAX_SAID_LENGTH], intent)
    why = f"a {acting} is in progress" if acting else seen.why or "it could not be checked"
    return StatusReport("warning", (UNSURE + why)[:MAX_SAID_LENGTH])
