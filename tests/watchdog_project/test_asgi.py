"""Who may send a large body: the process keeps it in memory, so only those with a key."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from agents.api import heartbeat_lane
from tests.agents.api import lane
from watchdog_project.asgi import read_body_first
from watchdog_project.wsgi import MAX_BODY

pytestmark = pytest.mark.django_db
LARGE = b"x" * (MAX_BODY + 100)


@pytest.fixture(autouse=True)
def _in_this_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat_lane, "aside", lane._here)


def read(path: str, headers: dict[str, str]) -> int:
    """How many bytes of a large body reach the application."""
    arrived: list[int] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        arrived.append(len((await receive())["body"]))

    async def receive() -> Any:
        return {"type": "http.request", "body": LARGE}

    async def send(message: Any) -> None:
        raise AssertionError("the edge answers nothing here")

    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": path, "headers": pairs, "client": ("127.0.0.1", 4711)}
    async_to_sync(read_body_first(application))(scope, receive, send)
    return arrived[0]


def test_telemetry_with_a_key_may_be_large(api_key: str) -> None:
    basic = base64.b64encode(f"pk:{api_key}".encode()).decode()
    for headers in (
        {"X-API-Key": api_key},
        {"Authorization": f"Bearer {api_key}"},
        {"Authorization": f"Basic {basic}"},
    ):
        assert read("/v1/traces", headers) == len(LARGE), headers


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "cv_" + "a" * 40}, {"Authorization": "Basic !"}])
def test_nobody_else_sends_large_bodies(db: None, headers: dict[str, str]) -> None:
    for path in ("/v1/traces", "/otlp/v1/logs", "/api/public/otel/v1/traces", "/hooks/claude-code"):
        assert read(path, headers) == MAX_BODY + 1, path


def test_other_paths_take_no_large_body(api_key: str) -> None:
    assert read("/api/v1/agents", {"X-API-Key": api_key}) == MAX_BODY + 1


@pytest.mark.parametrize(("path", "left"), [("/ping/k/backup/fail", 0), ("/api/v1/agents", 7)])
def test_all_of_a_pings_body_is_read(path: str, left: int) -> None:
    """A client that cannot send the rest may report a broken pipe instead of the answer."""
    parts = [{"type": "http.request", "body": b"x" * MAX_BODY, "more_body": number > 0} for number in range(9)]
    arrived: list[int] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        arrived.append(len((await receive())["body"]))

    async def receive() -> Any:
        return parts.pop()

    async def send(message: Any) -> None:
        raise AssertionError("the edge answers nothing here")

    scope = {"type": "http", "method": "POST", "path": path, "headers": [], "client": ("127.0.0.1", 4711)}
    async_to_sync(read_body_first(application))(scope, receive, send)
    assert (arrived, len(parts)) == ([MAX_BODY + 1], left)
