from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from clevagent.capture import streams


class Response:
    is_closed = False


@pytest.fixture
def reported() -> Iterator[list[dict[str, Any]]]:
    found: list[dict[str, Any]] = []
    yield found
    streams.settle(everything=True)


def test_last_usage_counts_once(reported: list[Any]) -> None:
    response = Response()
    for usage in ({"input": 9, "output": 1}, {"output": 4}, {"output": 7, "input": None}):
        streams.track(response, usage, reported.append)
    assert reported == []
    streams.finish(response)
    streams.finish(response)
    assert reported == [{"input": 9, "output": 7}]


def test_open_stream_is_not_reported_early(reported: list[Any]) -> None:
    response = Response()
    streams.track(response, {"input": 9}, reported.append)
    streams.settle()
    assert reported == []


def test_closed_stream_reports_its_last_usage(reported: list[Any]) -> None:
    response = Response()
    streams.track(response, {"input": 9, "output": 1}, reported.append)
    response.is_closed = True
    streams.settle()
    assert reported == [{"input": 9, "output": 1}]


def test_dropped_stream_is_reported_by_the_next(reported: list[Any]) -> None:
    streams.track(Response(), {"input": 9}, reported.append)
    gc.collect()
    streams.track(Response(), {"input": 8}, reported.append)
    assert reported == [{"input": 9}]


def test_open_streams_are_reported_at_exit(reported: list[Any]) -> None:
    response = Response()
    streams.track(response, {"input": 9}, reported.append)
    streams.settle(everything=True)
    streams.finish(response)
    assert reported == [{"input": 9}]


def test_endless_streams_are_bounded(reported: list[Any]) -> None:
    responses = [Response() for _ in range(streams.MAX_OPEN + 3)]
    for number, response in enumerate(responses):
        streams.track(response, {"input": number}, reported.append)
    assert reported == [{"input": 0}, {"input": 1}, {"input": 2}]


def test_failing_stream_does_not_block_others(reported: list[Any]) -> None:
    def fail(usage: dict[str, Any]) -> None:
        raise RuntimeError("ours")

    first, second = Response(), Response()
    streams.track(first, {"input": 1}, fail)
    streams.track(second, {"input": 2}, reported.append)
    streams.settle(everything=True)
    assert reported == [{"input": 2}]
