"""The highest of several tracks counts, in any order."""

from __future__ import annotations

from itertools import permutations

import pytest

from agents.doors.facts import Counts, Track
from agents.doors.ledger import PAID_ELSEWHERE, Raise, report
from agents.doors.notes import LedgerNote

CALL = Counts(100, 10)
Report = tuple[Track, Counts, float | None]


def raises(*reports: Report) -> list[Raise]:
    ledger = LedgerNote()
    return [raised for track, counts, cost in reports for raised in report(ledger, track, counts, cost)]


def total(found: list[Raise]) -> Counts:
    counted = Counts()
    for raised in found:
        counted = counted.plus(raised.counts)
    return counted


@pytest.mark.parametrize(
    "reports",
    list(
        permutations(
            [("log", CALL, 0.5), ("span", CALL, None), ("metric", Counts(100), 0.5), ("metric", Counts(0, 10), 0.0)]
        )
    ),
)
def test_any_order_counts_once(reports: tuple[Report, ...]) -> None:
    assert total(raises(*reports)) == CALL


def test_price_that_comes_apart_is_added_once() -> None:
    """A metric's tokens and their price are points of their own."""
    found = raises(("metric", CALL, 0.0), ("metric", Counts(), 0.5), ("log", CALL, 0.5))
    assert [raised.cost for raised in found] == [PAID_ELSEWHERE, 0.5]


def test_price_is_not_added_to_what_the_server_priced() -> None:
    found = raises(("span", CALL, None), ("log", CALL, 0.5), ("metric", Counts(), 0.5))
    assert [raised.cost for raised in found] == [None]


def test_next_call_keeps_its_price() -> None:
    found = raises(("span", CALL, None), ("log", CALL, 0.5), ("log", CALL, 0.5))
    assert [raised.cost for raised in found] == [None, 0.5]


def test_cache_details_that_come_later_are_booked() -> None:
    found = raises(("metric", CALL, None), ("call", Counts(100, 10, 60), None))
    assert total(found) == Counts(100, 10, 60)
    assert all(abs(raised.counts.cache_read) <= abs(raised.counts.input) for raised in found)


def test_correction_takes_back() -> None:
    assert (
        total(raises(("call", Counts(100, 18), None), ("call", Counts(-100, -18), None), ("call", CALL, None))) == CALL
    )
