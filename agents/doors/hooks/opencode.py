"""What our opencode plugin tells: `{"hook": NAME, "body": …}`, with the names and bodies of opencode's own hooks. Pure.

Messages are told again and again, also out of order; their tokens grow, so each is a sum of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from agents.doors.dialects import reading
from agents.doors.dialects.reading import text
from agents.doors.facts import NOTHING, Counts, Fact, Origin, Sum
from agents.doors.hooks import events
from agents.doors.hooks.events import Event
from agents.doors.otlp.control_flow import is_purposeful
from agents.doors.otlp.telemetry import storable

KIND: Final = "opencode"
NAME: Final = "opencode"
ASKS: Final = {"tool.execute.before"}
HEARS: Final = {"tool.execute.after"}
APPROVALS: Final = {"event.permission.updated", "event.permission.asked"}


def name_of(event: Event) -> str:
    return text(event, "hook")


def tool_of(event: Event) -> str:
    return storable(text(_part(_body(event), "input"), "tool"))


def facts(event: Event, agent: str, at: int) -> list[Fact]:
    body, name = _body(event), name_of(event)
    asked, properties = _part(body, "input"), _part(body, "properties")
    session = text(asked, "sessionID") or text(properties, "sessionID") or text(_part(properties, "info"), "sessionID")
    here = events.origin({"session_id": session}, KIND, agent, at)
    match name:
        case "chat.message":
            return [events.step(here, "prompt", is_open=True)]
        case "tool.execute.before":
            return [events.begins(_as_tool(asked, _part(body, "output")), here)]
        case "tool.execute.after":
            return [_ended(asked, _part(body, "output"), here)]
        case "tool.execute.error":
            return [events.ends(_as_tool(asked, asked), here, ok=False, result=body.get("error"))]
        case "event.message.updated":
            return _used(_part(properties, "info"), here)
        case _:
            return _moved(name, properties, here)


def _moved(name: str, properties: Mapping[str, Any], here: Origin) -> list[Fact]:
    """How the session goes."""
    status = text(_part(properties, "status"), "type")
    if name == "event.session.idle" or (name, status) == ("event.session.status", "idle"):
        return [events.waiting(here, events.NEXT_PROMPT)]
    if name == "event.session.status":
        return [events.step(here, "step", is_open=True)]
    if name in APPROVALS:
        return [events.waiting(here, events.APPROVAL)]
    if name == "event.session.error" and is_purposeful(text(_part(properties, "error"), "name")):
        return [events.waiting(here, events.NEXT_PROMPT)]
    if name == "event.session.error":
        return [events.step(here, "run", failed=True, message=f"The turn failed: {_problem(properties)}")]
    return [events.step(here, "end")] if name == "event.session.deleted" else []


def _problem(properties: Mapping[str, Any]) -> str:
    error = _part(properties, "error")
    return text(_part(error, "data"), "message") or text(error, "name") or "error"


def _ended(asked: Mapping[str, Any], answer: Mapping[str, Any], here: Origin) -> Fact:
    status = _part(answer, "metadata").get("exit")
    ok = status == 0 if isinstance(status, int) else None
    return events.ends(_as_tool(asked, asked), here, ok=ok, result=answer.get("output"))


def _as_tool(asked: Mapping[str, Any], holder: Mapping[str, Any]) -> Event:
    return {"tool_name": asked.get("tool"), "tool_use_id": asked.get("callID"), "tool_input": holder.get("args")}


def _used(message: Mapping[str, Any], here: Origin) -> list[Fact]:
    """The tokens of one message so far. Input is told without the cache, output without reasoning."""
    tokens = _part(message, "tokens")
    cache = _part(tokens, "cache")
    read, written, thought = (_count(cache, "read"), _count(cache, "write"), _count(tokens, "reasoning"))
    counts = Counts(
        _count(tokens, "input") + read + written, _count(tokens, "output") + thought, read, written, thought
    )
    if message.get("role") != "assistant" or counts == NOTHING:
        return []
    return [
        Sum(
            origin=here,
            model=storable(text(message, "modelID")) or "unknown",
            provider=storable(text(message, "providerID")),
            stream=("message", here.session, text(message, "id")),
            at=here.end,
            cumulative=True,
            counts=counts,
            # It tells 0 for a model whose price it does not know.
            cost=reading.usd(message, "cost") or None,
        )
    ]


def _count(holder: Mapping[str, Any], name: str) -> int:
    return int(min(reading.amount(holder.get(name)) or 0, 1e12))


def _body(event: Event) -> Mapping[str, Any]:
    return _part(event, "body")


def _part(holder: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = holder.get(name)
    return value if isinstance(value, Mapping) else {}
