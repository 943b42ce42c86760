"""Everything else that shows work. Pure."""

from __future__ import annotations

from agents.doors.facts import Step
from agents.doors.merging import keys
from agents.doors.merging.entries import Book, Entry
from agents.doors.notes import Row, StepNote


def tell_step(book: Book, step: Step, *, is_known: bool) -> None:
    origin, sender = step.origin, step.origin.resource.sender
    if origin.span:
        if not is_known:
            add_step(book, step, is_open=step.is_open)
        return
    row = Row(keys.key(step, sender), StepNote(), sender, end=origin.end)
    if not book.recall.knows(row.key):
        book.recall.add(row)
        add_step(book, step, is_open=step.is_open)


def add_step(book: Book, step: Step, *, is_open: bool) -> None:
    origin = step.origin
    name = book.named(origin).name
    book.entries.append(Entry(agent=name, origin=origin, at=origin.end, step=step, is_open=is_open))
