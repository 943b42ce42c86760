"""The official Python client, in each generation of the protocol."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from django.utils import timezone
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from agents.api.mcp.fitting import MAX_ANSWER
from agents.api.mcp.tools import TOOLS
from agents.fleet import services as fleet
from agents.ingest import committer
from agents.models import Agent, AgentState
from teams import services
from teams.models import Project

pytestmark = pytest.mark.live
# What the client speaks by its `mode`: the older handshake, the newer generation after a look, and straight away.
MODES = {"legacy": "2025-11-25", "auto": "2026-07-28", "2026-07-28": "2026-07-28"}


@pytest.fixture
def agent(transactional_db: None, project: Project) -> Iterator[Agent]:
    yield fleet.add_agent(project=project, name="bot", kind="agent", actor="test", now=timezone.now())
    committer.close()


@pytest.mark.parametrize("mode", MODES)
def test_official_client_lists_and_calls(agent: Agent, live_server: Any, mode: str) -> None:
    keys = [
        services.issue_key(project=agent.project, name=scope, scope=scope, actor="test")[1]
        for scope in ("agent", "read", "act")
    ]
    asyncio.run(_use(f"{live_server.url}/mcp", keys, mode))
    state = AgentState.objects.get(agent=agent)
    assert (state.beats, state.hold) == (1, True)


async def _use(url: str, keys: list[str], mode: str) -> None:
    reporting, reading, acting = [(url, key, mode) for key in keys]
    tools, version = await _tools(*reading)
    assert (tools, version) == (set(TOOLS), MODES[mode])
    assert (await _call(*reporting, "check_in", agent="bot"))[0]["status"] == "ok"
    assert (await _call(*reading, "explain_agent", agent="bot"))[0]["name"] == "bot"
    arguments = {"agent": "bot", "reason": "wrong branch"}
    for refused in (reporting, reading):
        text, is_error = await _call(*refused, "hold", **arguments)
        assert (is_error, "needs act" in text) == (True, True)
    asked, _ = await _call(*acting, "hold", **arguments)
    done, _ = await _call(*acting, "hold", **arguments, confirmation_id=asked["confirmation_id"])
    assert done == {"agent": "bot", "hold": True}


async def _tools(url: str, key: str, mode: str) -> tuple[set[str], str]:
    async with _http(key) as http, Client(streamable_http_client(url, http_client=http), mode=mode) as client:
        return {tool.name for tool in (await client.list_tools()).tools}, client.protocol_version


async def _call(url: str, key: str, mode: str, tool: str, **arguments: Any) -> tuple[Any, bool]:
    async with _http(key) as http, Client(streamable_http_client(url, http_client=http), mode=mode) as client:
        result = await client.call_tool(tool, arguments)
    ((text,)) = [content.text for content in result.content]  # type: ignore[union-attr]
    assert len(text.encode()) <= MAX_ANSWER
    return (text, True) if result.is_error else (json.loads(text), False)


def _http(key: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=60)
