"""One request: its trees first, then its calls, sums, tools and steps. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from agents.doors.facts import Call, Fact, Step, Sum, Tool
from agents.doors.merging import calls, steps, sums, tools
from agents.doors.merging.entries import Book, Merged
from agents.doors.notes import Recall
from agents.doors.otlp.telemetry import Item, Span


def merge(facts: Sequence[Fact], items: Iterable[Item], recall: Recall, rule: str = "") -> Merged:
    """What is new in these facts. Changes the notes in `recall`."""
    return _run(Book(recall, rule), facts, items)


def _run(book: Book, facts: Sequence[Fact], items: Iterable[Item]) -> Merged:
    known = _plant(book, facts, items)
    told = [fact for fact in facts if isinstance(fact, Call)]
    calls.tell_calls(book, [call for call in told if call.track == "call"])
    calls.tell_tracks(book, [call for call in told if call.track != "call"])
    sums.tell_sums(book, [fact for fact in facts if isinstance(fact, Sum)])
    for tool in tools.joined([fact for fact in facts if isinstance(fact, Tool)]):
        tools.tell_tool(book, tool)
    for step in (fact for fact in facts if isinstance(fact, Step)):
        steps.tell_step(book, step, is_known=(step.origin.trace, step.origin.span) in known)
    return Merged(sorted(book.entries, key=lambda entry: entry.at), book.renames)


def _plant(book: Book, facts: Iterable[Fact], items: Iterable[Item]) -> set[tuple[str, str]]:
    """Remember where the spans stand. Returns those that were known before."""
    traces = {fact.origin.trace for fact in facts if fact.origin.trace}
    names = {(step.origin.trace, step.origin.span): step.names for step in facts if isinstance(step, Step)}
    spans = [item for item in items if isinstance(item, Span) and item.trace in traces]
    known = {(span.trace, span.id) for span in spans if span.id in book.recall.nodes(span.trace)}
    for span in spans:
        book.recall.plant(span.trace, span.id, span.parent, names.get((span.trace, span.id), ""))
    return known
