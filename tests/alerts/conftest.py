"""An incident, channels to notify, and real servers that receive."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from agents.models import Agent, AgentState, Incident, IncidentEvent
from alerts.models import Channel
from teams.models import Project
from tests.alerts.receiver import Receiver

NOW = datetime(2026, 11, 23, 20, 25, 57, tzinfo=UTC)


@pytest.fixture
def agent(project: Project) -> Agent:
    agent = Agent.objects.create(project=project, name="bot-1")
    AgentState.objects.create(agent=agent, status="down")
    return agent


@pytest.fixture
def incident(agent: Agent) -> Incident:
    return Incident.objects.create(
        project=agent.project,
        agent=agent,
        kind="missed_heartbeat",
        severity="critical",
        reason="No heartbeat for 2 min",
        started_at=NOW,
        opened_at=NOW,
    )


@pytest.fixture
def happened(incident: Incident) -> Callable[..., IncidentEvent]:
    """`happened("opened")` writes an event of the incident and enqueues nothing."""

    def write(kind: str, at: datetime = NOW, text: str = "", **data: Any) -> IncidentEvent:
        return IncidentEvent.objects.create(incident=incident, kind=kind, at=at, text=text or kind, data=data)

    return write


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def allow_private(settings: Settings) -> None:
    """Let channels post to the servers of these tests, which listen on loopback."""
    settings.ALLOW_PRIVATE_TARGETS = True


@pytest.fixture
def webhook(project: Project, receiver: Receiver, allow_private: None) -> Channel:
    config = {"url": receiver.url("/hook"), "secret": "whsec_" + "c2VjcmV0" * 6}
    return Channel.objects.create(project=project, kind="webhook", name="hook", config=config)


@pytest.fixture
def email(project: Project) -> Channel:
    return Channel.objects.create(project=project, kind="email", name="mail", config={"to": ["ops@example.com"]})
