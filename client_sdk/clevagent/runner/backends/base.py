"""What the runner asks of a backend, and what it is answered.

A backend is a module (or a small object) that knows how to look at, restart and stop one kind of target. It knows
nothing of the server, of budgets or of commands. Its functions are called from several threads at once, for different
targets; they return within about `timeout` seconds, end whatever they started, use no shell, and raise nothing for what
goes wrong with a target: that is an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol, Union, runtime_checkable

from ..target import Target

Evidence = dict[str, Union[str, int, float, bool]]


class State(str, Enum):
    """UNKNOWN: it could not be seen, or it is between the two. Nothing is ever restarted for it."""

    RUNNING = "running"
    STOPPED = "stopped"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Observation:
    """What one look at a target found.

    `evidence` holds short facts under the names the source itself uses (`Result`, `NRestarts`, `OOMKilled`); empty
    ones are left out. `why` is one plain sentence part that goes on after "Not responding: " or "State not known: ",
    such as "systemd says failed (watchdog), restarted 3 times"; for a running target it may be empty.
    `missing`: there is no such target, which is an error at start and UNKNOWN later.
    `ended`: its supervisor says that it was stopped by somebody or has finished without a fault; it is reported, and
    the runner does not start it again by itself.
    """

    state: State
    evidence: Evidence = field(default_factory=dict)
    why: str = ""
    missing: bool = False
    ended: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a restart or a stop. `message` says what was done, or what to do about a refusal."""

    ok: bool
    message: str


@runtime_checkable
class Backend(Protocol):
    """KIND is the wire's word (`restart_type`), and TYPE before the colon of `--watch`.

    A backend may also have OPTIONS, a tuple of the keys that it understands in a target's TOML table (`options`).
    """

    KIND: str

    def complaint(self, target: Target) -> str:
        """What is wrong with the target's name or options and what to write instead; "" when nothing is."""

    def check(self, target: Target, timeout: float) -> Observation:
        """Look once, within `timeout` seconds."""

    def restart(self, target: Target, timeout: float) -> Outcome:
        """Restart it, or start it when it is stopped; `ok` once the supervisor has accepted and done it."""

    def stop(self, target: Target, timeout: float) -> Outcome:
        """Stop it so that its own supervisor leaves it stopped."""


@runtime_checkable
class Finder(Protocol):
    """A backend that can also select several targets by one name, such as Docker by a label.

    The runner asks at start and every minute; what is found is watched and may be restarted as if named itself.
    """

    def selects(self, target: Target) -> bool:
        """Whether this name is a selection; such a one is never checked, restarted or stopped by itself."""

    def find(self, target: Target, timeout: float) -> Sequence[Target] | None:
        """What the selection holds now, each with its own name and agent; None when it could not be asked."""


@runtime_checkable
class Starter(Protocol):
    """A backend that starts some of its targets itself, such as the process of a command in the TOML file.

    `folder` is where it may keep what the runner after this one needs to know them again; set before anything else.
    """

    folder: Path

    def begin(self, target: Target) -> None:
        """Called once when the runner starts, unless a stop holds: start it if it is this backend's to start."""


@runtime_checkable
class Permitting(Protocol):
    """A backend that can tell whether it may restart a target, without trying."""

    def permission(self, target: Target, timeout: float) -> str:
        """What keeps the runner from restarting it and what to do about that; "" when nothing does."""


class Probe(Protocol):
    """Evidence of work seen from outside, for agents that cannot be changed.

    `probes.make(settings, target)` makes one from the TOML table `probe`, or raises Wrong with what to write.
    """

    def look(self, now: float) -> tuple[bool | None, Evidence]:
        """Whether it moved since the last look (None: cannot be told), and what shows it. `now`: Unix seconds.

        Called once per interval from the target's own thread; it returns within a few seconds and raises nothing.
        """
