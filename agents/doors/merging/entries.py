"""What merging comes to: entries for heartbeats, and agents that turned out to have a name. Pure."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from agents.domain.heartbeat import ToolCall, Usage
from agents.doors.facts import Origin, Step
from agents.doors.identity import Named, agent_of, is_shared
from agents.doors.notes import Recall, Row, SenderNote


class Entry(msgspec.Struct, eq=False, kw_only=True):
    """One thing for a heartbeat. `is_open`: more must follow, so silence after it is a stall."""

    agent: str
    origin: Origin
    at: int
    usage: Usage | None = None
    tool: ToolCall | None = None
    step: Step | None = None
    is_open: bool = False


class Rename(NamedTuple):
    """An agent that stood for a service has turned out to be the one that a span names."""

    old: str
    new: str


class Merged(msgspec.Struct):
    entries: list[Entry]
    renames: list[Rename]


class Book:
    """What one request adds. `rule` is the project's for names; the notes in `recall` change on the way."""

    def __init__(self, recall: Recall, rule: str) -> None:
        self.recall = recall
        self.rule = rule
        self.entries: list[Entry] = []
        self.renames: list[Rename] = []

    def named(self, origin: Origin) -> Named:
        named = agent_of(origin, self.recall, self.rule)
        self._note_name(origin.resource.sender, named)
        return named

    def _note_name(self, sender: int, named: Named) -> None:
        """Remember the fallback; rename it once a name is known."""
        row = self.recall.rows.get(sender) or Row(sender, SenderNote())
        note = row.note
        if not isinstance(note, SenderNote):
            return
        if named.is_fallback and note.fallback != named.name:
            note.fallback = named.name
            self.recall.add(row)
        elif not named.is_fallback and note.fallback:
            if not self.rule and not is_shared(note.fallback) and note.fallback != named.name:
                self.renames.append(Rename(note.fallback, named.name))
            note.fallback = ""
            self.recall.add(row)
