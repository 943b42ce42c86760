"""https://github.com/langfuse/langfuse/issues/14034

A graph that waits for a person's approval is exported as a span with the status ERROR.
"""

from __future__ import annotations

from typing import Any

from agents.doors.dialects import langfuse
from agents.doors.facts import Step
from agents.doors.otlp.telemetry import Event, Resource, Span


def step(kind: str) -> Step:
    raised = Event("exception", {"exception.type": kind, "exception.message": "approve?"})
    attributes = {"langfuse.observation.level": "ERROR", "langfuse.observation.status_message": f"{kind}(approve?)"}
    told: dict[str, Any] = {
        "resource": Resource(),
        "scope": "langfuse-sdk",
        "trace": "1",
        "id": "1",
        "attributes": attributes,
    }
    (found,) = langfuse.facts(Span(failed=True, message=kind, events=(raised,), **told))
    assert isinstance(found, Step)
    return found


def test_interrupt_for_a_person_is_no_failure() -> None:
    assert not step("langgraph.errors.GraphInterrupt").failed
    assert step("ValueError").failed
