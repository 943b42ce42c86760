"""A cancelled span is no failure, although its status is ERROR."""

from __future__ import annotations

from typing import Any

import pytest

from agents.doors.otlp.telemetry import Event, Resource, Span


def span(*events: dict[str, Any], message: str = "", **attributes: Any) -> Span:
    told = tuple(Event("exception", event) for event in events)
    return Span(
        resource=Resource(), scope="", trace="", id="", failed=True, message=message, attributes=attributes, events=told
    )


def raised(kind: Any, message: str = "") -> dict[str, Any]:
    return {"exception.type": kind, "exception.message": message}


@pytest.mark.parametrize(
    "ended",
    [
        span(raised("asyncio.exceptions.CancelledError")),
        span(raised("GeneratorExit")),
        span(raised("langgraph.errors.GraphInterrupt", "approve?")),
        span(raised("ValueError"), raised("concurrent.futures.CancelledError")),
        span(raised("SystemExit", "0")),
        span(raised("SystemExit")),
        span(raised("KeyboardInterrupt")),
        span(raised("APIUserAbortError", "Request was aborted.")),
        span(message="CancelledError: "),
        span(message="GraphInterrupt((Interrupt(value='approve?'),))"),
        span(**{"error.type": "AbortError"}),
        span(**{"error.type": "asyncio.CancelledError"}),
    ],
)
def test_what_was_asked_for_is_no_failure(ended: Span) -> None:
    assert not ended.failed


@pytest.mark.parametrize(
    "ended",
    [
        span(),
        span(raised("ValueError", "CancelledError")),
        span(raised("asyncio.exceptions.CancelledError"), raised("ValueError")),
        span(raised("SystemExit", "1")),
        span(raised("TimeoutError")),
        span(raised("")),
        span(raised(7)),
        span(message="Cancelled orders cannot be read: disk full"),
        span(message="boom"),
        span(**{"error.type": "429"}),
    ],
)
def test_what_nobody_asked_for_is_a_failure(ended: Span) -> None:
    assert ended.failed
