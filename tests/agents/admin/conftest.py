"""A project with one agent of each fate, and pages to look at it with."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from agents.domain import signal_kinds
from agents.ingest.registration import create_agent
from agents.models import Agent, AgentMemory, AgentState, Command, Heartbeat, Incident, IncidentEvent, Runner, Signal
from teams.models import Project, User

Browse = Callable[[User], Client]


@pytest.fixture(autouse=True)
def _frozen(frozen_clock: None) -> None:
    """Pages and answers tell how long ago something was."""


def make_agent(project: Project, name: str = "bot", *, beat: float | None = 5, **state: object) -> Agent:
    """An agent whose last heartbeat came `beat` seconds ago, with these columns of its hot row."""
    now = timezone.now()
    agent = create_agent(project=project, name=name, now=now - timedelta(hours=1))
    seen = {} if beat is None else {"last_beat_at": now - timedelta(seconds=beat), "beats": 9, "status": "ok"}
    AgentState.objects.filter(agent=agent).update(**{**seen, **state})
    return Agent.objects.get(pk=agent.pk)


def make_incident(agent: Agent, *, kind: str = "stalled", reason: str = "No progress for 47 minutes") -> Incident:
    now = timezone.now()
    times = {"started_at": now - timedelta(minutes=47), "opened_at": now - timedelta(minutes=42)}
    incident = Incident.objects.create(
        project=agent.project, agent=agent, kind=kind, severity="critical", reason=reason, cost=4_250_000, **times
    )
    evidence = {"last_progress_at": times["started_at"].isoformat(), "usual_gap": 40.0, "spent_usd": 4.25}
    Signal.objects.create(
        incident=incident, agent=agent, kind=kind, severity="critical", reason=reason, evidence=evidence, **times
    )
    IncidentEvent.objects.create(incident=incident, kind="opened", text=reason, at=times["opened_at"])
    AgentState.objects.filter(agent=agent).update(
        status=signal_kinds.traits(kind).shown_as, incident=incident, incident_kind=kind
    )
    return incident


def make_beat(agent: Agent, message: str = "step 12") -> Heartbeat:
    now = timezone.now()
    return Heartbeat.objects.create(
        agent=agent,
        day=now.date(),
        received_at=now,
        status="ok",
        tokens=1200,
        cost=31_000,
        content={"message": message},
    )


def make_runner(agent: Agent) -> None:
    """One that watches it and asks for commands."""
    target = {"runner": "1/10.0.0.1", "restart_type": "systemd", "restart_target": f"{agent.name}.service"}
    AgentState.objects.filter(agent=agent).update(**target)
    Runner.objects.create(project=agent.project, source="1/10.0.0.1", polled_at=timezone.now())


def make_command(agent: Agent, *, by: str = "member@example.com") -> Command:
    return Command.objects.create(
        agent=agent,
        action="restart",
        type="systemd",
        target=f"{agent.name}.service",
        state="completed",
        requested_by=by,
        result="restarted",
        expires_at=timezone.now(),
    )


def deployed(agent: Agent, *versions: tuple[float, str]) -> None:
    """As its labels said so many minutes ago, oldest first."""
    said = [[(timezone.now() - timedelta(minutes=minutes)).isoformat(), name] for minutes, name in versions]
    AgentMemory.objects.filter(agent=agent).update(rules={"version": {"versions": said, "seen": {}}})


@pytest.fixture
def bot(project: Project) -> Agent:
    return make_agent(project)


@pytest.fixture
def incident(bot: Agent) -> Incident:
    return make_incident(bot)
