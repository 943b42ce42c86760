from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from clevagent.capture import streams


class Response:
    is_closed = False


@pytest.fixture
def told() -> Iterator[list[dict[str, Any]]]:
    found: list[dict[str, Any]] = []
    yield found
    streams.settle(everything=True)


def test_the_last_word_counts_once(told: list[Any]) -> None:
    response = Response()
    for usage in ({"input": 9, "output": 1}, {"output": 4}, {"output": 7, "input": None}):
        streams.track(response, usage, told.append)
    assert told == []
    streams.finish(response)
    streams.finish(response)
    assert told == [{"input": 9, "output": 7}]


def test_a_stream_that_is_read_is_not_told_before_its_end(told: list[Any]) -> None:
    response = Response()
    streams.track(response, {"input": 9}, told.append)
    streams.settle()
    assert told == []


def test_a_closed_stream_is_told_with_what_it_had_said(told: list[Any]) -> None:
    response = Response()
    streams.track(response, {"input": 9, "output": 1}, told.append)
    response.is_closed = True
    streams.settle()
    assert told == [{"input": 9, "output": 1}]


def test_a_dropped_stream_is_told_by_the_next_one(told: list[Any]) -> None:
    streams.track(Response(), {"input": 9}, told.append)
    gc.collect()
    streams.track(Response(), {"input": 8}, told.append)
    assert told == [{"input": 9}]


def test_open_streams_are_told_at_the_end_of_the_program(told: list[Any]) -> None:
    response = Response()
    streams.track(response, {"input": 9}, told.append)
    streams.settle(everything=True)
    streams.finish(response)
    assert told == [{"input": 9}]


def test_streams_that_never_end_are_bounded(told: list[Any]) -> None:
    responses = [Response() for _ in range(streams.MAX_OPEN + 3)]
    for number, response in enumerate(responses):
        streams.track(response, {"input": number}, told.append)
    assert told == [{"input": 0}, {"input": 1}, {"input": 2}]


def test_one_that_cannot_be_counted_does_not_keep_the_others_from_it(told: list[Any]) -> None:
    def fail(usage: dict[str, Any]) -> None:
        raise RuntimeError("ours")

    first, second = Response(), Response()
    streams.track(first, {"input": 1}, fail)
    streams.track(second, {"input": 2}, told.append)
    streams.settle(everything=True)
    assert told == [{"input": 2}]
