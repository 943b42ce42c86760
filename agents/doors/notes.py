"""What a project's doors remember across requests and processes, so that what is told twice counts once. Pure.

A note has a key that identifies what it is about, and for calls and tools also who observed it and when.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

import msgspec

from agents.domain.heartbeat import hash_of
from agents.doors.facts import NOTHING, Counts

# Spans per trace whose parents are remembered.
MAX_NODES: Final = 2_000
MAX_DEPTH: Final = 64
# `-2025-08-07`, `-20250929`, `@20250929`, `-latest`, `[1m]`
_SNAPSHOT: Final = re.compile(r"(?:[-@](?:\d{4}-?\d{2}-?\d{2}|latest))?(?:\[\w+\])?$")


class Booking(msgspec.Struct, array_like=True):
    """What was counted for a call. `cost` is None if the server prices it."""

    model: str
    asked: str
    provider: str
    counts: Counts
    cost: float | None = None

    def differs(self, other: Booking) -> bool:
        return self.counts != other.counts or self.cost != other.cost


class CallNote(msgspec.Struct, tag="call", omit_defaults=True, kw_only=True):
    """One observation of a model call. `group` is the key of the first observation, which holds what was `booked`.

    `is_outer`: another model call with usage happened inside of it.
    """

    scope: str
    trace: str
    span: str
    parent: str
    group: int
    told: Booking | None = None
    is_first_hand: bool = False
    is_outer: bool = False
    booked: Booking | None = None
    agent: str = ""
    session: str = ""


class ToolNote(msgspec.Struct, tag="tool", omit_defaults=True, kw_only=True):
    """One observation of a tool call. `is_matched`: somebody else told the same without an id."""

    name: str
    scope: str = ""
    session: str = ""
    trace: str = ""
    span: str = ""
    parent: str = ""
    is_hook: bool = False
    is_matched: bool = False


class TraceNote(msgspec.Struct, tag="trace", omit_defaults=True):
    """A trace's tree: per span its parent and the agent that it names."""

    nodes: dict[str, tuple[str, str]] = msgspec.field(default_factory=dict)


class LedgerNote(msgspec.Struct, tag="ledger", omit_defaults=True):
    """One sender's sums for one model by track. `priced`: some of them were priced by the server."""

    tracks: dict[str, Counts] = msgspec.field(default_factory=dict)
    costs: dict[str, float] = msgspec.field(default_factory=dict)
    priced: bool = False

    def total(self) -> Counts:
        return Counts(*map(max, NOTHING, *self.tracks.values())) if self.tracks else NOTHING


class PointNote(msgspec.Struct, tag="point", omit_defaults=True):
    """What a metric's series has told so far."""

    counts: Counts = NOTHING
    cost: float = 0.0


class SenderNote(msgspec.Struct, tag="sender", omit_defaults=True):
    """`fallback` is the agent that stands for the sender while nothing names one."""

    fallback: str = ""


class StepNote(msgspec.Struct, tag="step"):
    """A step that is known already."""


Note = CallNote | ToolNote | TraceNote | LedgerNote | PointNote | SenderNote | StepNote


class Row(msgspec.Struct, eq=False):
    """A note as it is stored. `ref` is a hash, 0 for none; times are microseconds since 1970."""

    key: int
    note: Note
    sender: int = 0
    ref: int = 0
    start: int = 0
    end: int = 0

    def overlaps(self, other: Row, slack: int) -> bool:
        return self.start <= other.end + slack and other.start <= self.end + slack


def key_of(kind: str, *parts: object) -> int:
    return hash_of("\n".join([kind, *map(str, parts)]))


@lru_cache(maxsize=4_096)
def trace_key(trace: str) -> int:
    return key_of("trace", trace)


@lru_cache(maxsize=4_096)
def ledger_key(sender: int, session: str, model: str) -> int:
    """The ledger of a model: one signal tells the dated snapshot that answered, another the name that was asked for."""
    return key_of("ledger", sender, session, _SNAPSHOT.sub("", model.lower().rpartition("/")[2]))


class Recall:
    """The notes that matter for one request, and those that it changes."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self.rows: dict[int, Row] = {}
        self.changed: dict[int, Row] = {}
        self._by_ref: dict[int, list[Row]] = defaultdict(list)
        self._by_sum: dict[tuple[int, int, int, bool], list[Row]] = defaultdict(list)
        self._members: dict[int, list[Row]] = defaultdict(list)
        self._tools: dict[tuple[int, str, str], list[Row]] = defaultdict(list)
        self._in_trace: dict[str, list[Row]] = defaultdict(list)
        self.load(rows)

    def knows(self, key: int) -> bool:
        return key in self.rows

    def load(self, rows: Iterable[Row]) -> None:
        """More stored notes."""
        for row in rows:
            if row.key not in self.rows:
                self._index(row)

    def add(self, row: Row) -> None:
        """A new or changed note."""
        if row.key not in self.rows:
            self._index(row)
        self.changed[row.key] = row

    def _index(self, row: Row) -> None:
        note = row.note
        self.rows[row.key] = row
        if row.ref:
            self._by_ref[row.ref].append(row)
        if isinstance(note, CallNote):
            self._members[note.group].append(row)
            if note.trace:
                self._in_trace[note.trace].append(row)
            if note.told:
                self._by_sum[row.sender, *note.told.counts[:2], bool(row.ref)].append(row)
        elif isinstance(note, ToolNote):
            self._tools[row.sender, note.session, note.name].append(row)

    def with_ref(self, ref: int) -> Iterable[Row]:
        return self._by_ref.get(ref, ())

    def with_sum(self, row: Row, counts: Counts) -> Iterator[Row]:
        """Calls of the row's sender with the same tokens. Two calls that both have an id are told apart by that, and
        there may be thousands with the same tokens."""
        for has_ref in (False,) if row.ref else (False, True):
            yield from self._by_sum.get((row.sender, *counts[:2], has_ref), ())

    def members(self, group: int) -> list[Row]:
        return self._members.get(group, [])

    def tools(self, sender: int, session: str, name: str) -> Iterable[Row]:
        return self._tools.get((sender, session, name), ())

    def calls_in(self, trace: str) -> list[Row]:
        return self._in_trace.get(trace, [])

    def grown_traces(self) -> set[str]:
        """Traces with calls whose tree has changed."""
        return {trace for trace in self._in_trace if trace_key(trace) in self.changed}

    def missing(self) -> set[int]:
        """Keys of notes that the calls among these refer to: the leaders of their groups, and ledgers."""
        calls = [(row.sender, row.note) for row in self.rows.values() if isinstance(row.note, CallNote)]
        leaders = {note.group for _, note in calls}
        told = [(sender, each) for sender, note in calls for each in (note.told, note.booked) if each]
        return (leaders | {ledger_key(sender, "", each.asked or each.model) for sender, each in told}) - set(self.rows)

    # Trees of traces

    def nodes(self, trace: str) -> dict[str, tuple[str, str]]:
        row = self.rows.get(trace_key(trace)) if trace else None
        return row.note.nodes if row and isinstance(row.note, TraceNote) else {}

    def ancestors(self, trace: str, span: str) -> Iterator[str]:
        """The ids of the span and of those around it, from the inside out, as far as they are known."""
        nodes = self.nodes(trace)
        for _ in range(MAX_DEPTH):
            if not span:
                return
            yield span
            span = nodes.get(span, ("", ""))[0]

    def name_above(self, trace: str, span: str) -> str:
        """The agent that the nearest of the span and those around it names."""
        nodes = self.nodes(trace)
        names = (nodes.get(each, ("", ""))[1] for each in self.ancestors(trace, span))
        return next((name for name in names if name), "")

    def plant(self, trace: str, span: str, parent: str, name: str) -> None:
        """Remember where a span stands."""
        row = self.rows.get(trace_key(trace)) or Row(trace_key(trace), TraceNote())
        note = row.note
        if not isinstance(note, TraceNote) or note.nodes.get(span) == (parent, name):
            return
        if len(note.nodes) < MAX_NODES or name:
            note.nodes[span] = (parent, name)
            self.add(row)
