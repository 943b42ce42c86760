"""The interface between the runner and its backends.

A backend is a module or a small object that checks, restarts and stops one type of target. It knows nothing about the
server, budgets or commands. Several threads call it at once, for different targets. Its functions return within about
`timeout` seconds, end whatever they started, use no shell, and return problems with a target instead of raising them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol, Union, runtime_checkable

from ..target import Target

Evidence = dict[str, Union[str, int, float, bool]]
# Lines of a log that say why a program ended.
LINES = 20


class State(str, Enum):
    """UNKNOWN: it cannot be seen, or is changing. The runner never restarts an unknown target."""

    RUNNING = "running"
    STOPPED = "stopped"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Observation:
    """The result of one check.

    `evidence` contains short facts under the source's own names (`Result`, `NRestarts`, `OOMKilled`), without empty
    ones. `why` continues the text "Not responding: " or "State unknown: ", such as "systemd says failed (watchdog),
    restarted 3 times"; it may be empty for a running target.
    `missing`: there is no such target, which is an error at startup and UNKNOWN later.
    `ended`: someone stopped it or it finished without an error; the runner reports it but does not restart it without a
    command.
    `doubtful`: it is down and may have been stopped by someone, because the source no longer knows. Never restarted
    without a command either.
    `run`: identifies the run of the program that was seen; "" if the source has nothing that does.
    """

    state: State
    evidence: Evidence = field(default_factory=dict)
    why: str = ""
    missing: bool = False
    ended: bool = False
    doubtful: bool = False
    run: str = ""


@dataclass(frozen=True)
class Outcome:
    """The result of a restart or stop. `message` says what was done, or how to fix a refusal."""

    ok: bool
    message: str


@runtime_checkable
class Backend(Protocol):
    """KIND is the `restart_type` reported to the server, and TYPE in `--watch TYPE:TARGET`.

    A backend may define OPTIONS, a tuple of the keys it accepts in a target's TOML table (`options`).
    """

    KIND: str

    def validation_error(self, target: Target) -> str:
        """Return what is wrong with the target's name or options and how to fix it, or ""."""

    def check(self, target: Target, timeout: float) -> Observation:
        """Check once, within `timeout` seconds."""

    def restart(self, target: Target, timeout: float) -> Outcome:
        """Restart it, or start it if it is stopped; `ok` once the supervisor has done so."""

    def stop(self, target: Target, timeout: float) -> Outcome:
        """Stop it so that its own supervisor does not start it again."""


@runtime_checkable
class Finder(Protocol):
    """A backend that can select several targets with one name, such as Docker by a label.

    The runner asks at startup and every minute, and treats found targets as if they were named.
    """

    def selects(self, target: Target) -> bool:
        """Return whether this name is a selection. Selections themselves are never checked, restarted or stopped."""

    def find(self, target: Target, timeout: float) -> Sequence[Target] | None:
        """Return the currently selected targets, each with its name and agent, or None if they cannot be listed."""


@runtime_checkable
class Starter(Protocol):
    """A backend that starts some of its targets itself, such as the `command` of a process target.

    `folder` is where it keeps what the next runner needs to recognise them; set before any other call.
    """

    folder: Path

    def start_if_needed(self, target: Target) -> None:
        """Called once at startup, unless a stop is in effect: start the target if it is this backend's to start."""


@runtime_checkable
class Logged(Protocol):
    """A backend that can read what a target wrote last."""

    def last_lines(self, target: Target, timeout: float) -> str:
        """Return at most LINES of its log, oldest first; "" if there is none, or it cannot be read."""


@runtime_checkable
class PermissionChecker(Protocol):
    """A backend that can check its permission to restart a target without trying."""

    def missing_permission(self, target: Target, timeout: float) -> str:
        """Return what prevents the runner from restarting it and how to fix that, or ""."""


class Probe(Protocol):
    """Evidence of progress from outside, for agents you cannot change.

    `probes.make(settings, target)` creates one from the TOML table `probe`. Raises ConfigError.
    """

    def look(self, now: float) -> tuple[bool | None, Evidence]:
        """Return whether it moved since the last look (None: cannot tell), and the evidence. `now` is in Unix seconds.

        Called once per interval in the target's thread. Returns within a few seconds and never raises.
        """
