"""The rules, worst first. Adding one: a file here, its name in ALL, a heading in docs/rules.md, a test."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from agents.rules import cost, crash, error, loop, missed_heartbeat, outside, restart_failed, stalled
from agents.rules.base import BeatSeen, Facts, Finding


class Rule(Protocol):
    """What `ALL` holds: modules."""

    KIND: str
    LABEL: str

    def check(self, facts: Facts) -> Finding | None: ...


ALL: Final[tuple[Rule, ...]] = (crash, missed_heartbeat, stalled, error, restart_failed, cost, loop)
READERS: Final = {crash.KIND: crash.read, error.KIND: error.read, loop.KIND: loop.read, outside.KIND: outside.read}


def read(memory: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """What the rules remember of an agent, after some more heartbeats."""
    return {**memory, **{kind: reader(memory.get(kind, {}), beats) for kind, reader in READERS.items()}}
