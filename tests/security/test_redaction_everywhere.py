"""A secret that an agent sends by mistake is hidden wherever its text is shown: pages, the API, messages."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from agents.admin.agents import AgentPage
from agents.models import Incident, IncidentEvent
from alerts.message import of_event
from teams.models import User
from tests.agents.conftest import World

pytestmark = pytest.mark.django_db
TOKEN = "ghp_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
SECRET = f"using {TOKEN} to clone"
CALLS = [{"name": "clone", "args": json.dumps({"password": TOKEN, "url": f"https://me:{TOKEN}@git.example"})}] * 12
TRACEBACK = json.dumps({"traceback": f"Traceback:\n  raise ValueError('{TOKEN}')", "crash": True})


@pytest.fixture
def leaky(world: World) -> Incident:
    """An agent that calls a tool in a loop, then crashes, and says its token each time."""
    for second in range(0, 60, 5):
        world.beat(second, message=SECRET, tool_call_log=CALLS, progress=True)
    world.look(60)
    world.beat(61, status="error", message=f"CRASH: ValueError: {SECRET}", custom_data=TRACEBACK, tool_call_log=CALLS)
    world.look(62)
    return Incident.objects.latest("pk")


def test_no_page_shows_it(leaky: Incident, owner: User, client_of: Any, world: World) -> None:
    browser: Client = client_of(owner)
    agent = leaky.agent_id
    paths = [f"/admin/{model._meta.app_label}/{model._meta.model_name}/" for model in admin.site._registry]
    paths += [f"/admin/agents/agent/{agent}/change/", f"/admin/agents/incident/{leaky.pk}/change/", "/admin/"]
    paths += [reverse("admin:agents_agent_live", args=[agent, part]) for part in AgentPage.live_parts]
    shown = []
    with world.clock(63):
        for path in paths:
            page = browser.get(path, follow=True)
            assert page.status_code in (200, 403), path
            shown += [path] if TOKEN in page.content.decode() else []
    assert shown == []


API = [
    "status",
    "agents",
    "agents/{agent}",
    "agents/{agent}/heartbeats",
    "agents/{agent}/timeline",
    "incidents",
    "incidents/{incident}",
    "deliveries",
]


@pytest.mark.parametrize("path", API)
def test_api_does_not_give_it(path: str, leaky: Incident, full_key: str, world: World) -> None:
    with world.clock(63):
        where = path.format(agent=leaky.agent_id, incident=leaky.pk)
        answer = Client().get(f"/api/v1/{where}", headers={"X-API-Key": full_key})
    assert answer.status_code == 200
    assert TOKEN not in answer.content.decode()
    assert "clone" in answer.content.decode() or "heartbeats" not in path


def test_no_message_has_it(leaky: Incident) -> None:
    events = IncidentEvent.objects.filter(incident=leaky)
    messages = [of_event(event, leaky, "id") for event in events]
    assert messages
    assert [message for message in messages if TOKEN in repr(message)] == []
