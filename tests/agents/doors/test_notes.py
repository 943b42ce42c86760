"""What is looked up for one call: only those that may be the same, however many have the same tokens."""

from __future__ import annotations

from agents.doors.facts import Counts
from agents.doors.notes import MAX_NEAR, Booking, CallNote, LedgerNote, Recall, Row

COUNTS = Counts(1200, 300)


def call(key: int, ref: int = 0, counts: Counts = COUNTS) -> Row:
    told = Booking("gpt-5", "gpt-5", "openai", counts)
    return Row(key, CallNote(scope="s", trace="", span="", parent="", group=key, told=told), sender=7, ref=ref)


def test_calls_with_ids_are_told_apart_by_them() -> None:
    """A sender may make thousands of calls with the same tokens: comparing each pair took a second per request."""
    recall = Recall([call(number, ref=number) for number in range(1, 1_000)])
    nameless = call(2_000)
    recall.add(nameless)
    assert list(recall.with_sum(call(3_000, ref=3_000), COUNTS, 0)) == [nameless]
    assert len(list(recall.with_sum(call(3_000), COUNTS, 0))) == MAX_NEAR + 1
    assert list(recall.with_sum(call(3_000), Counts(1200, 301), 0)) == []


def test_most_of_all_tracks_counts() -> None:
    assert LedgerNote().total() == Counts()
    tracks = {"log": Counts(5, -2), "span": Counts(3, 4, 1)}
    assert LedgerNote(tracks=tracks).total() == Counts(5, 4, 1)
