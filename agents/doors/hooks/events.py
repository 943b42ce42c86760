"""What the hooks of all coding agents have in common. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from agents.doors.dialects import reading
from agents.doors.facts import Origin, Step, StepKind, Tool
from agents.doors.otlp.telemetry import Resource, storable

APPROVAL: Final = "approval"
NEXT_PROMPT: Final = "the next prompt"
Event = Mapping[str, Any]


def name_of(event: Event) -> str:
    return reading.text(event, "hook_event_name")


def origin(event: Event, kind: str, agent: str, at: int) -> Origin:
    """`at` is when the server received it, in microseconds: hooks tell no time, or the client's own.

    The resource is as the program's telemetry has it, so that both are known as one sender.
    """
    named = {"agent.name": storable(agent)} if agent else {}
    return Origin(
        resource=Resource({"service.name": kind, **named}),
        kind=kind,
        session=storable(reading.text(event, "session_id")),
        start=at,
        end=at,
        is_hook=True,
    )


def step(here: Origin, kind: StepKind, **more: Any) -> Step:
    return Step(origin=here, kind=kind, **more)


def waiting(here: Origin, what: str) -> Step:
    """A declared wait, so that an approval is never a stall."""
    return Step(origin=here, kind="step", waits_for=what)


def begins(event: Event, here: Origin) -> Step:
    """A tool is about to run."""
    return Step(origin=here, kind="decision", is_open=True, tool=tool_name(event))


def ends(event: Event, here: Origin, *, ok: bool | None, result: Any) -> Tool:
    """A tool has run."""
    ms = reading.amount(event.get("duration_ms"))
    here.start = here.end - int(min(ms or 0.0, 1e9) * 1000)
    args = event.get("tool_input")
    return Tool(
        origin=here,
        name=tool_name(event),
        ref=storable(reading.text(event, "tool_use_id")),
        args=storable(reading.shown(args)),
        args_hash=reading.digest(args),
        result_hash=reading.digest(result),
        ms=ms,
        ok=ok,
    )


def called(event: Event) -> str:
    """The tool that the event is about; empty for a turn."""
    return storable(reading.text(event, "tool_name"))


def tool_name(event: Event) -> str:
    return called(event) or "tool"
