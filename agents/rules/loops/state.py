"""What the loop detector remembers of an agent between heartbeats: one JSON value of at most 6 KB. Pure."""

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
    """A moment (seconds since 1970), and all tokens and micro-dollars that were spent up to it."""

    at: float = 0.0
    tokens: int = 0
    cost: int = 0


class Symbol(msgspec.Struct, array_like=True, frozen=True):
    """One thing done: a tool call, or words without one. `key` is the exact key, the soft one and the result's."""

    key: str
    flags: int
    mark: Mark

    @property
    def exact(self) -> str:
        """Name, arguments and, where reported, result."""
        return self.key[: keys.LENGTH] + self.key[2 * keys.LENGTH :]

    @property
    def soft(self) -> str:
        """The same but for what is masked in the arguments."""
        return self.key[keys.LENGTH :]

    @property
    def action(self) -> str:
        """Name and arguments, whatever they returned."""
        return self.key[: keys.LENGTH]

    @property
    def result(self) -> str:
        return self.key[2 * keys.LENGTH :]


class Shown(msgspec.Struct, array_like=True, frozen=True):
    """A call as people are shown it, and whether it is a poller by its name or command."""

    name: str
    args: str = ""
    waits: bool = False


class Pattern(msgspec.Struct, array_like=True):
    """One repetition. `laps` agree but for what is masked, `exact` of them entirely; `count` are the symbols in it,
    `period` those of a lap, `members` their soft keys.

    `every` holds the flags that all its symbols have, `some` those of any. `lap` is the seconds a lap took of late,
    `burn` the tokens a minute meanwhile, `grows` whether the gaps grew like those of a back-off. `misses` are the
    symbols since then that are none of it.
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
    """How the last tool fares: calls in a row, failures in a row, equal errors in a row, since when."""

    name: str = ""
    calls: int = 0
    fails: int = 0
    errors: int = 0
    error: str = ""
    start: Mark = msgspec.field(default_factory=Mark)


class State(msgspec.Struct, omit_defaults=True):
    """`found` is the newest pattern of each kind.

    `soft` and `exact` are for each period of 1 to 8 how many symbols in a row equal the one that many before them.
    `tries` are equal calls in a row whatever they returned, `stale` the symbols in a row that are nothing new. `texts`
    has a digit for each of the last texts: how much trouble it admits. `lines` are texts that came with calls, `log`
    the calls of the last heartbeat where no counter is sent.
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
    def of(cls, memory: Mapping[str, Any]) -> State:
        """From what was stored; anything else, as of an older version, begins anew."""
        try:
            state = msgspec.convert(memory, cls)
        except msgspec.ValidationError:
            return cls(version=VERSION)
        return state if state.version == VERSION else cls(version=VERSION)

    def as_json(self) -> dict[str, Any]:
        kept: dict[str, Any] = msgspec.to_builtins(self)
        return kept

    def fresh(self) -> State:
        """Begin anew, as for a new run. How its client reports is still known, and what it told already."""
        now = Mark(self.now.at)
        return State(
            VERSION, log=self.log, counts=self.counts, calls=self.calls, iteration=self.iteration, run=self.run, now=now
        )


@lru_cache(maxsize=4_096)
def short(text: str, most: int) -> str:
    """The beginning of a text that takes at most so many bytes as JSON."""
    kept = text[:most]
    while len(json.dumps(kept)) - 2 > most:
        kept = kept[: len(kept) * 3 // 4]
    return kept
