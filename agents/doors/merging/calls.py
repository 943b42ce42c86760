"""Model calls: each counts once, by its best observation. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Final

import msgspec

from agents.doors.facts import Call, Origin, Step
from agents.doors.merging import keys, steps, sums
from agents.doors.merging.entries import Book
from agents.doors.merging.observers import SAME_CALL, is_same_id
from agents.doors.notes import MAX_NEAR, Booking, CallNote, Row, StepNote
from agents.doors.otlp.telemetry import Resource

_NOWHERE: Final = Resource()


def tell_calls(book: Book, calls: Sequence[Call]) -> None:
    groups: dict[int, Call] = {}
    for call in sorted(calls, key=lambda call: call.origin.start):
        row = _observed(book, call)
        if row is not None and isinstance(row.note, CallNote):
            groups[row.note.group] = call
            if row.note.told is None:
                _tell_without_usage(book, call)
    traces = {call.origin.trace for call in calls if call.origin.trace}
    changed = _find_outer(book, traces | book.recall.grown_traces())
    for group in [*groups, *(group for group in changed if group not in groups)]:
        _settle(book, group, groups.get(group))


def _observed(book: Book, call: Call) -> Row | None:
    """A new observation in its group; None if it is known already."""
    origin, sender = call.origin, call.origin.resource.sender
    key = keys.key(call, sender)
    if book.recall.knows(key):
        return None
    note = CallNote(
        scope=origin.scope,
        trace=origin.trace,
        span=origin.span,
        parent=origin.parent,
        group=key,
        told=_told(call),
        is_first_hand=call.is_first_hand,
        session=origin.session,
    )
    row = Row(key, note, sender, keys.ref(call, sender), origin.start, origin.end)
    note.group = _group(book, row, note)
    book.recall.add(row)
    return row


def _group(book: Book, row: Row, note: CallNote) -> int:
    """The group of an earlier observation of the same call, else its own."""
    same = [other for other in _candidates(book, row, note) if isinstance(other.note, CallNote)]
    nearest = min(same, key=lambda other: abs(other.start - row.start), default=None)
    return nearest.note.group if nearest and isinstance(nearest.note, CallNote) else row.key


def _candidates(book: Book, row: Row, note: CallNote) -> Iterator[Row]:
    if row.ref:
        yield from (other for other in book.recall.with_ref(row, SAME_CALL) if is_same_id(row, other, SAME_CALL))
    if note.told is None:
        return
    for other in book.recall.with_sum(row, note.told.counts, SAME_CALL):
        theirs = other.note
        if not isinstance(theirs, CallNote) or not _same_model(note, theirs):
            continue
        # A log comes a moment after its span.
        slack = 0 if bool(note.span) == bool(theirs.span) else SAME_CALL
        if row.overlaps(other, slack) and not _is_own(book, note, theirs.group):
            yield other


def _is_own(book: Book, note: CallNote, group: int) -> bool:
    """Whether the same observer told a call of this group before, or nobody else can be missing in it."""
    members = book.recall.members(group)
    told = ((each.note.scope, bool(each.note.span)) for each in members if isinstance(each.note, CallNote))
    return len(members) >= MAX_NEAR or (note.scope, bool(note.span)) in told


def _find_outer(book: Book, traces: Iterable[str]) -> list[int]:
    """Mark the calls inside of which another one with usage happened. Returns the groups that changed."""
    changed = []
    for trace in traces:
        rows = book.recall.calls_in(trace)
        outer = {
            each
            for row in rows
            if isinstance(row.note, CallNote) and row.note.told
            for each in book.recall.ancestors(trace, row.note.parent)
        }
        for row in rows:
            note = row.note
            if isinstance(note, CallNote) and note.is_outer != (bool(note.span) and note.span in outer):
                note.is_outer = not note.is_outer
                book.recall.add(row)
                changed.append(note.group)
    return changed


def _settle(book: Book, group: int, call: Call | None) -> None:
    """Bring what is booked for a call in line with its best observation."""
    leader = book.recall.rows.get(group)
    if leader is None or not isinstance(leader.note, CallNote):
        return
    note, best = leader.note, _best(book.recall.members(group))
    if best is None and note.booked is None:
        return
    if best and note.booked and not best.differs(note.booked):
        return
    before, note.booked = note.booked, best
    here = call.origin if call else _origin_of(book, leader, note)
    note.agent = note.agent or book.named(here).name
    book.recall.add(leader)
    if before:
        sums.raise_by(book, leader.sender, here, note.agent, "call", before, sign=-1)
    if best:
        is_open = call is not None and call.is_open
        sums.raise_by(book, leader.sender, here, note.agent, "call", best, is_open=is_open)


def _origin_of(book: Book, row: Row, note: CallNote) -> Origin:
    """Where an earlier request observed a call that is corrected now."""
    return Origin(
        resource=_NOWHERE,
        kind="otel",
        trace=note.trace,
        span=note.span,
        session=note.session,
        start=row.start,
        end=row.end,
        agent=note.agent,
    )


def tell_tracks(book: Book, calls: Sequence[Call]) -> None:
    for call in calls:
        sender = call.origin.resource.sender
        row = Row(keys.key(call, sender), StepNote(), sender, end=call.origin.end)
        if not book.recall.knows(row.key):
            book.recall.add(row)
            told = _told(call)
            if told is None:
                _tell_without_usage(book, call)
            else:
                name = book.named(call.origin).name
                sums.raise_by(book, sender, call.origin, name, call.track, told, is_open=call.is_open)


def _tell_without_usage(book: Book, call: Call) -> None:
    """A call shows work, also if it failed or told no usage."""
    step = Step(origin=call.origin, kind="error" if call.failure else "step", message=call.failure)
    steps.add_step(book, step, is_open=call.is_open)


def _told(call: Call) -> Booking | None:
    """Libraries report a price of 0 for models they do not know."""
    if call.counts is None or not any(call.counts[:2]):
        return None
    return Booking(call.model, call.asked, call.provider, call.counts, call.cost or None)


def _same_model(note: CallNote, other: CallNote) -> bool:
    """Some observers tell the model that was asked for, others the one that answered: a router may choose another."""
    if note.told is None or other.told is None:
        return False
    return any(_same_name(*pair) for pair in product(_models(note.told), _models(other.told)))


def _models(told: Booking) -> set[str]:
    names = {name.lower().rpartition("/")[2] for name in (told.model, told.asked) if name}
    return names or {""}


def _same_name(first: str, second: str) -> bool:
    return first.startswith(second) or second.startswith(first)


def _best(members: Sequence[Row]) -> Booking | None:
    """The innermost observation with usage, the SDK's own first; with the price of another that tells the same."""
    notes = [row.note for row in members if isinstance(row.note, CallNote) and row.note.told]
    inner = [note for note in notes if not note.is_outer]
    best = max(inner, key=lambda note: (note.is_first_hand, note.scope), default=None)
    if best is None or best.told is None:
        return None
    costs = [note.told.cost for note in notes if note.told and note.told.counts == best.told.counts]
    cost = best.told.cost or next((cost for cost in costs if cost), None)
    return msgspec.structs.replace(best.told, cost=cost)
