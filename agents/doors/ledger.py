"""One sender's tokens of one model, told on several tracks: the one that told most counts. Pure.

Logs, spans and metrics of a coding agent, and a library's metrics beside its spans, tell the same tokens, in any order
and with any of them missing. What counts is the highest sum of all tracks; each report adds what it raises that by.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from agents.doors.facts import NOTHING, Counts, Track
from agents.doors.notes import LedgerNote

# Less than a micro-dollar: its price was told elsewhere, so the server must not add one.
PAID_ELSEWHERE: Final = 1e-9


class Raise(NamedTuple):
    """By how much the count goes up; down where a report turns out to have been too high."""

    counts: Counts
    cost: float | None


def report(ledger: LedgerNote, track: Track, counts: Counts, cost: float | None) -> list[Raise]:
    """Add a report to its track; what it raises, if anything. `cost` is None if the server has to price it."""
    before, paid = ledger.total(), _paid(ledger)
    ledger.tracks[track] = ledger.tracks.get(track, NOTHING).plus(counts)
    if cost is not None:
        ledger.costs[track] = ledger.costs.get(track, 0.0) + cost
    raised = ledger.total().minus(before)
    money = _paid(ledger) - paid
    if raised == NOTHING:
        return [Raise(NOTHING, money)] if abs(money) > PAID_ELSEWHERE and not ledger.priced else []
    is_whole = raised[:2] == counts[:2]
    price = _untold(ledger, track) if cost is None else _told(ledger, cost, money, is_whole)
    return _balanced(raised, price)


def _paid(ledger: LedgerNote) -> float:
    return max(ledger.costs.values(), default=0.0)


def _told(ledger: LedgerNote, cost: float, money: float, is_whole: bool) -> float | None:
    """A report with its price. Where the server priced before, prices told on other tracks were not counted."""
    if ledger.priced:
        return cost or None if is_whole else None
    return money if abs(money) > PAID_ELSEWHERE else PAID_ELSEWHERE


def _untold(ledger: LedgerNote, track: Track) -> float | None:
    """A report without a price: None, so the server prices it, unless another track tells prices."""
    others = [paid for name, paid in ledger.costs.items() if name != track or name == "metric"]
    if any(others) and not ledger.priced:
        return PAID_ELSEWHERE
    ledger.priced = True
    return None


def _balanced(raised: Counts, price: float | None) -> list[Raise]:
    """Never more cached tokens than input, which no price list understands.

    A track that tells no details of the cache may have been ahead. Then tokens are taken back and given again as what
    they are.
    """
    cached = raised.cache_read + raised.cache_write
    extra = cached - raised.input
    if not cached or (extra <= 0 if cached > 0 else extra >= 0):
        return [Raise(raised, price)]
    free = None if price is None else PAID_ELSEWHERE
    return [Raise(Counts(input=-extra), free), Raise(raised._replace(input=cached), price)]
