"""Requests to the ASGI lane for heartbeats. What uses the database runs in this thread: in the test's transaction."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import DatabaseError

from agents.api import heartbeat_lane
from agents.api.heartbeat_lane import Receive, Scope, Send
from agents.ingest import committer
from agents.ingest.write import unavailable

# Whether `conftest.caller` sends heartbeats here instead of to the view.
is_used = False


def use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.agents.api.lane.is_used", True)
    monkeypatch.setattr(heartbeat_lane, "aside", _here)
    monkeypatch.setattr(heartbeat_lane, "_store", sync_to_async(committer.submit))


async def _here(work: Any) -> Any:
    try:
        return await sync_to_async(work)()
    except DatabaseError as error:
        raise unavailable(error) from None


@dataclass
class Response:
    status_code: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes = b""

    def __getitem__(self, name: str) -> str:
        return self.headers[name.lower()]

    def json(self) -> Any:
        return json.loads(self.content)


def post(
    path: str, body: str | bytes, headers: Mapping[str, str], pieces: Sequence[Mapping[str, Any]] | None = None
) -> Response:
    """Send a request; `pieces` are the messages of its body, by default a single one."""
    data = body.encode() if isinstance(body, str) else body
    lengths = {} if pieces else {"Content-Length": str(len(data))}
    pairs = [(name.lower().encode(), value.encode()) for name, value in {**headers, **lengths}.items()]
    scope = {"type": "http", "method": "POST", "path": path, "headers": pairs, "client": ("127.0.0.1", 4711)}
    messages = list(pieces or [{"type": "http.request", "body": data}])
    response = Response()

    async def receive() -> Any:
        if not messages:  # the client sends nothing more
            await asyncio.Event().wait()
        return messages.pop(0)

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            response.status_code = message["status"]
            response.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            response.content += message["body"]

    async_to_sync(_call)(scope, receive, send)
    return response


async def _call(scope: Scope, receive: Receive, send: Send) -> None:
    await heartbeat_lane.heartbeat_lane(_nobody)(scope, receive, send)


async def _nobody(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError(f"not a heartbeat: {scope['path']}")
