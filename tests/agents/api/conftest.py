"""Callers with keys, and an agent for them to call about."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from agents.ingest.registration import create_agent
from agents.models import Agent, AgentState, Incident, Signal
from teams import services
from teams.models import Project, User
from tests.agents.api import lane

Call = Callable[..., Any]


@pytest.fixture(autouse=True)
def _frozen(frozen_clock: None) -> None:
    """Pages and answers tell how long ago something was."""


def caller(key: str | None) -> Call:
    """`call("GET", "status")` as the holder of a key; a dict as body is sent as JSON."""
    keys = {"X-API-Key": key} if key else {}
    client = Client(headers=keys, raise_request_exception=False)

    def call(method: str, path: str, body: Any = None, kind: str = "application/json", **extra: Any) -> Any:
        data = json.dumps(body) if isinstance(body, dict) else body or b""
        url = f"/api/v1/{path}"
        if lane.is_used and method == "POST" and path.startswith("heartbeat"):
            return lane.post(url, data, {**keys, "Content-Type": kind, **extra.get("headers", {})})
        return client.generic(method, url, data, kind, CONTENT_TYPE=kind, **extra)

    return call


@pytest.fixture
def as_agent(api_key: str) -> Call:
    return caller(api_key)


@pytest.fixture
def as_full(full_key: str) -> Call:
    return caller(full_key)


@pytest.fixture
def as_reader(project: Project) -> Call:
    return caller(services.issue_key(project=project, name="read", scope="read", actor="test")[1])


@pytest.fixture
def as_stranger(stranger: User) -> Call:
    theirs = Project.objects.get(team__members=stranger)
    return caller(services.issue_key(project=theirs, name="full", scope="full", actor="test")[1])


@pytest.fixture
def agent(project: Project) -> Agent:
    """Reported a moment ago, by a runner too."""
    made = create_agent(project=project, name="research-agent", now=timezone.now())
    facts = {"beats": 1, "last_beat_at": timezone.now(), "reported": "ok", "status": "ok"}
    AgentState.objects.filter(agent=made).update(**facts)
    return Agent.objects.select_related("project__team", "state").get(pk=made.pk)


@pytest.fixture
def incident(agent: Agent) -> Incident:
    """Stands since a minute: the agent made no progress."""
    began = timezone.now() - timedelta(minutes=1)
    times = {"started_at": began, "opened_at": began}
    facts = {"kind": "stalled", "severity": "critical", "reason": "No progress for 6 min"}
    made = Incident.objects.create(project=agent.project, agent=agent, **facts, **times)
    Signal.objects.create(incident=made, agent=agent, evidence={"timeout": 300}, **facts, **times)
    AgentState.objects.filter(agent=agent).update(incident=made, status="stalled")
    return made
