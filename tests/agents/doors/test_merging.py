"""One thing counts once: however its reports are cut, ordered, repeated and mixed."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.doors import merging
from agents.doors.dialects import facts_of
from agents.doors.facts import Counts
from agents.doors.merging import Entry
from agents.doors.notes import Note, Recall, Row
from agents.doors.otlp.telemetry import Item, Resource, Span
from tests.agents.doors.captures import PARTS, PARTS_TRUTH, SAME_RUN, TRUTHS, decoded

Totals = tuple[int, int, int, int]
ITEMS = {name: decoded(name).items for name in (*TRUTHS, *PARTS)}


class Door:
    """A door whose notes go through their stored form after each request."""

    def __init__(self) -> None:
        self.stored: dict[int, tuple[bytes, tuple[int, int, int, int]]] = {}
        self.entries: list[Entry] = []

    def send(self, items: Sequence[Item]) -> None:
        facts = [fact for item in items for fact in facts_of(item)]
        recall = Recall(
            Row(key, msgspec.json.decode(note, type=Note), *columns) for key, (note, columns) in self.stored.items()
        )
        self.entries += merging.merge(facts, items, recall).entries
        for row in recall.changed.values():
            self.stored[row.key] = (msgspec.json.encode(row.note), (row.sender, row.ref, row.start, row.end))

    def totals(self) -> Totals:
        uses = [entry.usage for entry in self.entries if entry.usage]
        return (
            sum(use.input_tokens for use in uses),
            sum(use.output_tokens for use in uses),
            sum(use.cache_read_tokens for use in uses),
            sum(entry.tool is not None for entry in self.entries),
        )


def cut(items: Sequence[Item], luck: random.Random) -> Iterable[list[Item]]:
    """Shuffled, in pieces, some of them sent again later."""
    every = [*items, *luck.sample(list(items), len(items) // 3)]
    luck.shuffle(every)
    while every:
        size = luck.randint(1, 5)
        piece, every = every[:size], every[size:]
        yield piece
        if luck.random() < 0.2:
            yield piece


def truth_of(names: Iterable[str]) -> Totals:
    truths = [PARTS_TRUTH if name == PARTS[0] else TRUTHS[name] for name in names if name != PARTS[1]]
    return (
        sum(truth.input for truth in truths),
        sum(truth.output for truth in truths),
        sum(truth.cache_read for truth in truths),
        sum(truth.tools for truth in truths),
    )


@pytest.mark.parametrize("names", [*((name,) for name in TRUTHS), PARTS], ids=lambda names: names[0])
def test_any_order_has_the_same_totals(names: tuple[str, ...]) -> None:
    for seed in range(8):
        door, luck = Door(), random.Random(seed)
        for piece in cut([item for name in names for item in ITEMS[name]], luck):
            door.send(piece)
        assert door.totals() == truth_of(names), seed


@pytest.mark.parametrize("names", SAME_RUN, ids=lambda names: names[0])
def test_signals_of_one_run_in_any_order(names: tuple[str, ...]) -> None:
    for seed in range(8):
        door, luck = Door(), random.Random(seed)
        for piece in cut([item for name in names for item in ITEMS[name]], luck):
            door.send(piece)
        truth = SAME_RUN[names]
        assert door.totals() == (truth.input, truth.output, truth.cache_read, truth.tools), seed


SEPARATE = [name for name in TRUTHS if name not in {other for names in SAME_RUN for other in names[1:]}]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(SEPARATE), min_size=2, max_size=5, unique=True), st.randoms(use_true_random=False))
def test_captures_interleaved_at_random(names: list[str], luck: random.Random) -> None:
    door = Door()
    for piece in cut([item for name in names for item in ITEMS[name]], luck):
        door.send(piece)
    assert door.totals() == truth_of(names)


ANSWERED: Any = {"gen_ai.response.id": "x"}
SECOND = 1_000_000


def chat(span: str, parent: str = "", *, scope: str = "lib", tokens: int = 100, at: int = 1, **more: Any) -> Span:
    given = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5", "gen_ai.usage.input_tokens": tokens}
    return Span(
        resource=Resource({"service.name": "bot"}),
        scope=scope,
        trace="a" * 32,
        id=span.ljust(16, "0"),
        parent=parent.ljust(16, "0") if parent else "",
        name="chat gpt-5",
        start=at * SECOND,
        end=at * SECOND + SECOND // 2,
        attributes={**given, **more},
    )


def test_outer_call_that_came_first_is_taken_back() -> None:
    """Of nested model calls only the innermost count, and the outer one may be told before them."""
    door = Door()
    door.send([chat("1", tokens=200)])
    assert door.totals()[0] == 200
    door.send([chat("2", "1", tokens=100)])
    door.send([chat("3", "1", tokens=90)])
    assert door.totals()[0] == 190


def test_span_between_two_calls_may_come_last() -> None:
    door = Door()
    between = chat("2", "1")
    between.attributes = {"gen_ai.operation.name": "plan"}
    door.send([chat("1", tokens=100)])
    door.send([chat("3", "2", tokens=100, scope="other", **{"gen_ai.usage.output_tokens": 7})])
    door.send([between])
    assert door.totals()[:2] == (100, 7)


def test_equal_calls_of_one_library_are_two() -> None:
    door = Door()
    door.send([chat("1"), chat("2"), chat("3", at=9)])
    assert door.totals()[0] == 300


def test_same_id_much_later_is_another_call() -> None:
    door = Door()
    door.send([chat("1", **ANSWERED), chat("2", at=60, **ANSWERED)])
    assert door.totals()[0] == 200


def test_two_libraries_without_an_id_are_one_call() -> None:
    door = Door()
    door.send([chat("1", **ANSWERED)])
    door.send([chat("2", scope="other")])
    assert door.totals()[0] == 100


def test_model_that_a_router_chose_is_the_one_asked_for() -> None:
    door = Door()
    routed: Any = {"gen_ai.response.model": "claude-sonnet-4-5"}
    door.send([chat("1", **routed)])
    door.send([chat("2", scope="other")])
    assert door.totals()[0] == 100


def test_second_sender_is_counted_for_itself() -> None:
    door = Door()
    door.send([chat("1")])
    theirs = chat("2", scope="other")
    theirs.resource = Resource({"service.name": "bot", "service.instance.id": "2"})
    door.send([theirs])
    assert door.totals()[0] == 200


def test_usage_is_never_more_cached_than_read() -> None:
    """No price list understands that, also not in corrections."""
    door = Door()
    for names in SAME_RUN:
        for name in reversed(names):
            door.send(ITEMS[name])
    uses = [entry.usage for entry in door.entries if entry.usage]
    assert uses
    for use in uses:
        counts = Counts(use.input_tokens, use.output_tokens, use.cache_read_tokens, use.cache_write_tokens)
        assert abs(counts.cache_read + counts.cache_write) <= abs(counts.input)
