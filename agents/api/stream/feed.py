"""What a stream sends: which events of its project, from where on, and how they are written.

Shared by the stream of the ASGI lane and by the view, which sends what there is and ends.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from agents.api.project_view import named_agents
from agents.domain.wire.names import agent_name
from agents.models import StreamEvent
from agents.reporting.payloads import agent_url, incident_url, moment
from agents.storage import event_stream
from teams.errors import ApiError

# Events per query.
PAGE: Final = 200
# Seconds after which clients reconnect.
RETRY: Final = 3
MAX_DIGITS: Final = 18
HELLO: Final = f"retry: {RETRY * 1000}\n\n"
COMMENT: Final = ": still here\n\n"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client asks for. `last` is the number after which it resumes; None: only what happens from now on."""

    project_id: int
    agent_id: int | None
    last: int | None


def wanted(project_id: int, agent: str, last_event_id: str) -> Wanted:
    """Raises ApiError 404 for an unknown agent, 422 for an ID that is no number."""
    if last_event_id and not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) <= MAX_DIGITS):
        why = "must be the id of an event"
        raise ApiError(422, "invalid", f"Last-Event-ID: {why}", fields={"Last-Event-ID": why})
    agent_id = _agent_id(project_id, agent) if agent else None
    return Wanted(project_id, agent_id, int(last_event_id) if last_event_id else None)


def _agent_id(project_id: int, agent: str) -> int:
    found = named_agents(project_id, agent).first()
    if found is None:
        raise ApiError(404, "not_found", f"This project has no agent named “{agent_name(agent)}”.")
    return found.pk


def begin(wanted: Wanted) -> tuple[int, str]:
    """The number after which to read, and what to send first."""
    event_stream.number()
    newest = event_stream.newest()
    if wanted.last is None or wanted.last == newest:
        return newest, HELLO
    if event_stream.is_complete_after(wanted.last):
        return wanted.last, HELLO
    # Away for longer than events are kept: only the current state is known.
    return newest, HELLO + _written(newest, "stream.reset", {"text": "Events were missed. Read /api/v1/status."})


def page(wanted: Wanted, last: int) -> list[StreamEvent]:
    """The next events of the project; fewer than `PAGE` if these are all."""
    event_stream.number()
    return event_stream.after(last, PAGE, wanted.project_id)


def text_of(events: Iterable[StreamEvent], agent_id: int | None) -> str:
    """Events in the format of `text/event-stream`."""
    return "".join(_text(event) for event in event_stream.of_agents(events, agent_id))


def _text(event: StreamEvent) -> str:
    data = {**event.data, "at": moment(event.at)}
    data["agent"] = {**data["agent"], "url": agent_url(event.agent_id)}
    if "incident" in data:
        data["incident"] = {**data["incident"], "url": incident_url(data["incident"]["id"])}
    return _written(event.number or 0, event.type, data)


def _written(number: int, kind: str, data: Mapping[str, Any]) -> str:
    # JSON has no raw line breaks, which would end the field.
    return f"id: {number}\nevent: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
