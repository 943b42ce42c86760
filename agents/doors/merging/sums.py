"""Tokens and money: what a report adds to what its sender's tracks have told. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from agents.domain.heartbeat import MAX_COST, MAX_TOKENS, Usage
from agents.doors import ledger
from agents.doors.facts import NOTHING, Counts, Origin, Sum, Track
from agents.doors.merging import keys
from agents.doors.merging.entries import Book, Entry
from agents.doors.notes import Booking, LedgerNote, PointNote, Row, ledger_key


def tell_sums(book: Book, sums: Sequence[Sum]) -> None:
    """Points of one ledger that come together are one report, so that tokens and their price stay together."""
    reports: dict[int, tuple[Sum, Booking]] = {}
    for told in sums:
        sender = told.origin.resource.sender
        counts, cost = _new_in(book, told, sender)
        key = keys.ledger_of(told, sender)
        first, known = reports.get(key, (told, Booking(told.model, told.model, told.provider, NOTHING)))
        whole = cost if known.cost is None else known.cost + (cost or 0.0)
        reports[key] = (first, Booking(told.model, told.model, told.provider, known.counts.plus(counts), whole))
    for first, report in reports.values():
        if report.counts != NOTHING or report.cost:
            raise_by(book, first.origin.resource.sender, first.origin, "", "metric", report)


def _new_in(book: Book, told: Sum, sender: int) -> tuple[Counts, float | None]:
    """What a point adds to what its series has told before."""
    key = keys.key(told, sender)
    row = book.recall.rows.get(key) or Row(key, PointNote(), sender, end=told.at)
    note = row.note
    if not isinstance(note, PointNote):
        return NOTHING, told.cost
    added = Counts(*(max(0, now - before) for now, before in zip(told.counts, note.counts, strict=True)))
    more = max(0.0, (told.cost or 0.0) - note.cost)
    note.counts, note.cost = note.counts.plus(added), note.cost + more
    book.recall.add(row)
    return added, None if told.cost is None else more


def raise_by(
    book: Book,
    sender: int,
    origin: Origin,
    agent: str,
    track: Track,
    told: Booking,
    *,
    sign: int = 1,
    is_open: bool = False,
) -> None:
    """Report to the ledger; what it raises becomes an entry."""
    session = origin.session if origin.kind in keys.CODING else ""
    key = ledger_key(sender, session, told.asked or told.model)
    row = book.recall.rows.get(key) or Row(key, LedgerNote(), sender, end=origin.end)
    if not isinstance(row.note, LedgerNote):
        return
    counts = Counts(*(sign * value for value in told.counts))
    raises = ledger.report(row.note, track, counts, None if told.cost is None else sign * told.cost)
    book.recall.add(row)
    if session:
        raises = [each for raised in raises for each in _beyond_process(book, sender, origin, told, raised)]
    if not raises:
        return
    name = agent or book.named(origin).name
    for raised in raises:
        usage = _usage(told, raised)
        book.entries.append(Entry(agent=name, origin=origin, at=origin.end, usage=usage, is_open=is_open))


def _beyond_process(book: Book, sender: int, origin: Origin, told: Booking, raised: ledger.Raise) -> list[ledger.Raise]:
    """What a session adds to the sums that the sender's metrics tell without a session, which a setting leaves out.

    Without such metrics, all of it.
    """
    key = ledger_key(sender, "", told.asked or told.model)
    row = book.recall.rows.get(key) or Row(key, LedgerNote(), sender, end=origin.end)
    if not isinstance(row.note, LedgerNote):
        return [raised]
    found = ledger.report(row.note, "log", raised.counts, raised.cost)
    book.recall.add(row)
    return found if "metric" in row.note.tracks else [raised]


def _usage(told: Booking, raised: ledger.Raise) -> Usage:
    counts = Counts(*(max(-MAX_TOKENS, min(tokens, MAX_TOKENS)) for tokens in raised.counts))
    return Usage(
        model=told.model[:200] or "unknown",
        provider=_provider(told.provider),
        input_tokens=counts.input,
        output_tokens=counts.output,
        cache_read_tokens=counts.cache_read,
        cache_write_tokens=counts.cache_write,
        reasoning_tokens=counts.reasoning,
        cost_usd=None if raised.cost is None else max(-MAX_COST, min(raised.cost, MAX_COST)),
    )


def _provider(name: str) -> str | None:
    """The Vercel AI SDK names the API, too: `openai.chat`, `google.generative-ai`."""
    head, _, api = name.partition(".")
    is_api = api in ("chat", "responses", "messages", "completion", "embedding", "generative-ai", "image")
    return (head if is_api else name)[:100] or None
