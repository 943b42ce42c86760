"""Which target and which runner the restarts of an agent are bound to. Pure: no Django, no clock.

The first report pins the target. Any `agent` key can report anything: without the pin, one stolen key would turn "stop
bot" into "stop database". The runner is pinned once a person armed restarts; before, the one that last reported the
target gets the commands. A person changes the target in the agent's settings.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, Protocol

# A runner reports every 30 s. After this long without a report it is gone, and another one may watch its target.
RUNNER_GONE: Final = timedelta(minutes=2)
MAX_CLAIM_LENGTH: Final = 200


class Pin(Protocol):
    """The hot-row columns that hold it. `runner` is a source, see `ingest/reporter.py`."""

    runner: str
    runner_at: datetime | None
    restart_type: str
    restart_target: str


def is_same_runner(source: str, other: str) -> bool:
    """Compares address and name, but not the id of the key, which changes when the key is rotated."""
    return source.partition("/")[2] == other.partition("/")[2]


def is_replaceable(pin: Pin, source: str, at: datetime, *, armed: bool) -> bool:
    """Whether this runner may watch the pinned target: it is the pinned one, or that one is gone or not armed."""
    if not (armed and pin.runner) or is_same_runner(pin.runner, source):
        return True
    return pin.runner_at is None or at - pin.runner_at >= RUNNER_GONE


def is_pinned_elsewhere(pin: Pin, target: tuple[str, str], source: str, at: datetime, *, armed: bool) -> bool:
    """Whether the pin forbids this runner this target. `armed`: automatic restarts are on, or a person set a target."""
    if not (pin.runner and pin.restart_type):
        return False
    return target != (pin.restart_type, pin.restart_target) or not is_replaceable(pin, source, at, armed=armed)


def claim(target: tuple[str, str], source: str) -> str:
    """What a report outside the pin named, for people: `docker:database, reported by 10.0.0.9/web-2`."""
    return f"{target[0]}:{target[1]}, reported by {source.partition('/')[2] or 'unknown'}"[:MAX_CLAIM_LENGTH]
