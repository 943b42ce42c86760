"""Values of every type that a client may send."""

from __future__ import annotations

from typing import Any

import pytest

from agents.doors.dialects import facts_of, reading
from agents.doors.facts import Counts
from agents.doors.otlp.telemetry import Resource, Span


@pytest.mark.parametrize("value", [{"a": 1}, [1, {"b": None}], "text", 5, None, "__REDACTED__", True])
def test_arguments_of_any_type(value: Any) -> None:
    assert isinstance(reading.shown(value), str)
    assert isinstance(reading.digest(value), str) == (value not in (None, "__REDACTED__"))


def test_order_and_spaces_do_not_change_a_hash() -> None:
    assert reading.digest('{"a": 1, "b": 2}') == reading.digest('{"b":2,"a":1}') == reading.digest({"b": 2, "a": 1})


def test_volatile_parts_do_not_change_a_hash() -> None:
    first = "Chunk ID: c2ae07\nWall time: 0.1000 seconds\nProcess exited with code 0\nOutput:\nhello"
    again = "Chunk ID: 99aa01\nWall time: 2.5000 seconds\nProcess exited with code 0\nOutput:\nhello"
    assert reading.digest(first) == reading.digest(again)
    assert reading.digest(first) != reading.digest(again.replace("hello", "bye"))


@pytest.mark.parametrize(
    "key", ["gen_ai.operation.name", "llm.request.type", "openinference.span.kind", "ai.operationId"]
)
@pytest.mark.parametrize("value", [[], {}, ["chat"], {"a": "b"}, None, 5, True])
def test_kind_of_a_wrong_type_is_no_failure(key: str, value: Any) -> None:
    facts_of(Span(resource=Resource(), scope="x", trace="a" * 32, id="b" * 16, attributes={key: value}))


@pytest.mark.parametrize(
    ("told", "counts"),
    [
        ((120, 30, 64, 0, 8), Counts(120, 30, 64, 0, 8)),
        ((25, 17, 2000, 100), Counts(2125, 17, 2000, 100)),
        ((None, 5), Counts(0, 5)),
        ((None, None), None),
    ],
)
def test_cache_left_out_of_the_input(told: tuple[Any, ...], counts: Counts | None) -> None:
    assert reading.inclusive(*told) == counts


def test_reasoning_left_out_of_the_output() -> None:
    assert reading.inclusive(300, 20, 100, None, 5, total=325) == Counts(300, 25, 100, 0, 5)
    assert reading.inclusive(300, 25, 100, None, 5, total=325) == Counts(300, 25, 100, 0, 5)
