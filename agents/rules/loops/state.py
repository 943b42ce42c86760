"""The loop detector's state between heartbeats: one JSON value of at most 6 KB per agent. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from agents.rules.loops import keys

VERSION: Final = 1
RING: Final = 28
PERIODS: Final = range(1, 9)
NAME_BYTES, ARGS_BYTES, SAMPLE_BYTES = 36, 40, 120


class Mark(msgspec.Struct, array_like=True, frozen=True):
    """A moment (seconds since 1970), and the total tokens and micro-dollars up to it."""

    at: float = 0.0
    tokens: int = 0
    cost: int = 0


class Symbol(msgspec.Struct, array_like=True, frozen=True):
    """One action: a tool call, or a message without one. `key` joins the exact key, the soft key and the result's."""

    key: str
    flags: int
    mark: Mark

    @property
    def exact(self) -> str:
        """Identifies name, arguments and, where reported, result."""
        return self.key[: keys.LENGTH] + self.key[2 * keys.LENGTH :]

    @property
    def soft(self) -> str:
        """The same, ignoring what is masked in the arguments."""
        return self.key[keys.LENGTH :]

    @property
    def action(self) -> str:
        """Identifies name and arguments, with any result."""
        return self.key[: keys.LENGTH]

    @property
    def result(self) -> str:
        return self.key[2 * keys.LENGTH :]


class Shown(msgspec.Struct, array_like=True, frozen=True):
    """A call as pages show it, and whether its name or command makes it a poller."""

    name: str
    args: str = ""
    waits: bool = False


class Pattern(msgspec.Struct, array_like=True):
    """One repetition.

    laps: repetitions that match on the soft key; exact: of those, on the exact key. count: symbols in all laps.
    period: symbols per lap; members: their soft keys. every: flags that all symbols have; some: flags of any.
    lap: seconds per lap, recently; burn: tokens per minute, recently; grows: whether the gaps grow like a back-off's.
    misses: symbols since the last lap that do not belong to it.
    """

    kind: str
    period: int
    members: list[str]
    calls: list[Shown]
    laps: int
    exact: int
    count: int
    every: int
    some: int
    start: Mark
    last: Mark
    lap: float = 0.0
    burn: float = 0.0
    grows: bool = False
    misses: int = 0

    @property
    def seconds(self) -> float:
        return max(0.0, self.last.at - self.start.at)

    @property
    def tokens(self) -> int:
        return max(0, self.last.tokens - self.start.tokens)

    @property
    def cost(self) -> int:
        return max(0, self.last.cost - self.start.cost)


class Tool(msgspec.Struct, array_like=True):
    """The last tool: its calls in a row, failures in a row, equal errors in a row, and since when."""

    name: str = ""
    calls: int = 0
    fails: int = 0
    errors: int = 0
    error: str = ""
    start: Mark = msgspec.field(default_factory=Mark)


class State(msgspec.Struct, omit_defaults=True):
    """Everything that is stored.

    found: the newest pattern per kind.
    soft, exact: for each period from 1 to 8, how many symbols in a row equal the one that many positions earlier.
    tries: equal calls in a row with any result; stale: symbols in a row without anything new.
    texts: one digit per recent message, its degree of trouble (`symbols.trouble`).
    lines: messages that came with calls; log: the last heartbeat's calls, where the client sends no counter.
    """

    version: int = 0
    ring: list[Symbol] = []
    soft: list[int] = msgspec.field(default_factory=lambda: [0] * len(PERIODS))
    exact: list[int] = msgspec.field(default_factory=lambda: [0] * len(PERIODS))
    tries: int = 0
    stale: int = 0
    tool: Tool = msgspec.field(default_factory=Tool)
    recent: list[Shown] = []
    texts: str = ""
    lines: list[str] = []
    log: list[str] = []
    counts: bool = False
    calls: bool = False
    iteration: int | None = None
    run: str = ""
    now: Mark = msgspec.field(default_factory=Mark)
    found: dict[str, Pattern] = {}

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> State:
        """Read the stored state; anything else, such as an older version's, starts over."""
        try:
            state = msgspec.convert(stored, cls)
        except msgspec.ValidationError:
            return cls(version=VERSION)
        return state if state.version == VERSION else cls(version=VERSION)

    def as_json(self) -> dict[str, Any]:
        kept: dict[str, Any] = msgspec.to_builtins(self)
        return kept

    def fresh(self) -> State:
        """Start over, as for a new run, but keep how the client reports and what it already sent."""
        return State(
            version=VERSION,
            log=self.log,
            counts=self.counts,
            calls=self.calls,
            iteration=self.iteration,
            run=self.run,
            now=Mark(self.now.at),
        )


# Shows that a text goes on, and takes six bytes of JSON.
CUT: Final = "…"


def beginning(text: str, most: int) -> str:
    """As `short`, with an ellipsis if it was cut."""
    kept = short(text, most)
    return text if kept == text else short(text, most - 6) + CUT


@lru_cache(maxsize=4_096)
def short(text: str, most: int) -> str:
    """The beginning of a text, at most `most` bytes as JSON."""
    kept = text[:most]
    while len(json.dumps(kept)) - 2 > most:
        kept = kept[: len(kept) * 3 // 4]
    return kept
