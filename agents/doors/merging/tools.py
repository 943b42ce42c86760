"""Tool calls: each counts once, whoever observes it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agents.domain.heartbeat import ToolCall
from agents.doors.facts import Tool
from agents.doors.merging import keys
from agents.doors.merging.entries import Book, Entry
from agents.doors.merging.observers import SAME_CALL, SAME_TOOL, is_same_id
from agents.doors.notes import Row, ToolNote


def tell_tool(book: Book, tool: Tool) -> None:
    origin, sender = tool.origin, tool.origin.resource.sender
    key = keys.key(tool, sender)
    if not tool.name or book.recall.knows(key):
        return
    note = ToolNote(
        name=tool.name,
        scope=origin.scope,
        session=origin.session,
        trace=origin.trace,
        span=origin.span,
        parent=origin.parent,
        is_hook=origin.is_hook,
    )
    row = Row(key, note, sender, keys.ref(tool, sender), origin.start, origin.end)
    is_known = _is_told(book, row, note)
    book.recall.add(row)
    if not is_known:
        call = ToolCall(tool.name[:200], tool.args or None, tool.args_hash, tool.result_hash, _ms(tool.ms), tool.ok)
        name = book.named(origin).name
        book.entries.append(Entry(agent=name, origin=origin, at=origin.end, tool=call, is_open=True))


def _is_told(book: Book, row: Row, note: ToolNote) -> bool:
    """Whether another observer told this tool call."""
    if row.ref and any(is_same_id(row, other, SAME_TOOL) for other in book.recall.with_ref(row, SAME_TOOL)):
        return True
    for other in book.recall.tools(row, note.session, note.name, SAME_TOOL):
        theirs = other.note
        if isinstance(theirs, ToolNote) and (_is_nested(note, theirs) or _is_same_tool(row, note, other, theirs)):
            theirs.is_matched = note.is_matched = True
            book.recall.add(other)
            return True
    return False


def _ms(ms: float | None) -> float | None:
    return None if ms is None else min(ms, 86_400_000.0 * 366)


def joined(tools: Sequence[Tool]) -> Iterator[Tool]:
    """Claude Code tells a tool in two spans: one has the name, the other knows whether it failed."""
    named: dict[tuple[str, str], Tool] = {}
    for tool in sorted(tools, key=lambda tool: (not tool.name, tool.origin.start)):
        key = (tool.origin.session, tool.ref)
        if not tool.ref or tool.origin.kind not in keys.CODING:
            yield tool
        elif key not in named:
            named[key] = tool
        elif named[key].ok is None:
            named[key].ok = tool.ok
    yield from named.values()


def _is_nested(note: ToolNote, other: ToolNote) -> bool:
    return bool(note.trace) and note.trace == other.trace and (note.parent == other.span or other.parent == note.span)


def _is_same_tool(row: Row, note: ToolNote, other: Row, theirs: ToolNote) -> bool:
    """Two of hook, log and span tell it, and not both of them know an id."""
    sources = (note.is_hook, bool(note.span)), (theirs.is_hook, bool(theirs.span))
    if (row.ref and other.ref) or note.is_matched or theirs.is_matched or sources[0] == sources[1]:
        return False
    return row.overlaps(other, SAME_CALL)
