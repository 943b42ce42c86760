"""A project in which time only passes when a test says so."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import connections
from django.db.models import Min

from agents.domain.hot_row import Answer
from agents.domain.wire.decoding import decode
from agents.ingest import committer, overload
from agents.ingest.committer import Committer
from agents.ingest.write import Received
from agents.models import Agent, AgentState, Incident, IncidentEvent, Pulse, Signal, Unread
from agents.review import review
from agents.storage import outage_log
from teams.auth import Caller, authenticate_key
from teams.models import Project

T0 = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
# Seconds.
PATIENT = 600.0


@pytest.fixture(autouse=True)
def _patient_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine must not fail a test: no sweep ends early, and no heartbeat is shed or refused for its wait."""
    monkeypatch.setattr(review, "MAX_SWEEP", PATIENT)
    monkeypatch.setattr(overload, "SHED_AFTER", PATIENT)
    monkeypatch.setattr(overload, "REFUSE_AFTER", PATIENT)


class World:
    """Send heartbeats and run the detector, at seconds after T0."""

    def __init__(self, project: Project, caller: Caller) -> None:
        self.project = project
        self.caller = caller
        self._processes: list[Committer] = []

    def process(self) -> Committer:
        """The committer of another web process."""
        self._processes.append(Committer())
        return self._processes[-1]

    def close(self) -> None:
        committer.close()
        for process in self._processes:
            process.close()

    @contextmanager
    def clock(self, at: float) -> Iterator[datetime]:
        with time_machine.travel(T0 + timedelta(seconds=at), tick=False):
            yield T0 + timedelta(seconds=at)

    def offer(
        self, at: float = 0, agent: str = "bot", source: str = "1/10.0.0.1", waited: float = 0, **fields: Any
    ) -> Any:
        """Send one heartbeat and return its outcome. `waited`: seconds between receiving and storing it."""
        body = json.dumps({"agent": agent, "status": "ok", **fields}).encode()
        with self.clock(at + waited) as now:
            received = Received(self.caller, decode(body), now - timedelta(seconds=waited), source)
            return committer.submit([received])[0]

    def beat(self, at: float = 0, agent: str = "bot", **fields: Any) -> Answer:
        outcome = self.offer(at, agent, **fields)
        assert isinstance(outcome, Answer), outcome.message
        return outcome

    def look(self, at: float, *, after_outage: bool = False) -> None:
        """Run the detector once. It was running until then, unless this is after a watchdog outage."""
        with self.clock(at) as now:
            if not after_outage:
                Pulse.objects.filter(name=outage_log.DETECTOR).update(at=now - timedelta(seconds=1))
            review.sweep(now)

    def watch(self, start: float, end: float) -> None:
        """Run the detector every 4 s, and once at the end. Sweeps that nothing is due for are skipped."""
        at = start
        while (at := self._next_sweep(at)) < end:
            self.look(at)
            at += 4
        self.look(end)

    def _next_sweep(self, at: float) -> float:
        """The first of the sweeps every 4 s from `at` that has something to review."""
        due = AgentState.objects.aggregate(first=Min("check_at"))["first"]
        if Unread.objects.exists():
            return at
        if due is None:
            return math.inf
        wait: float = (due - T0).total_seconds() - at
        return at + 4 * max(0, math.ceil(wait / 4))

    def agent(self, name: str = "bot") -> Agent:
        return Agent.objects.get(project=self.project, names__name=name)

    def state(self, name: str = "bot") -> AgentState:
        return AgentState.objects.get(agent=self.agent(name))

    def incidents(self) -> list[Incident]:
        return list(Incident.objects.filter(project=self.project).order_by("id"))

    def kinds(self, name: str = "bot") -> list[str]:
        """The kinds of open signals."""
        signals = Signal.objects.filter(agent=self.agent(name), cleared_at__isnull=True)
        return sorted(signals.values_list("kind", flat=True))

    def events(self) -> list[str]:
        events = IncidentEvent.objects.filter(incident__project=self.project)
        return list(events.order_by("id").values_list("kind", flat=True))


@pytest.fixture
def world(project: Project, api_key: str) -> World:
    return World(project, authenticate_key(api_key))


@pytest.fixture
def live_world(transactional_db: None, request: pytest.FixtureRequest) -> Iterator[World]:
    """A world whose commits other connections see."""
    world = World(request.getfixturevalue("project"), authenticate_key(request.getfixturevalue("api_key")))
    yield world
    world.close()


def in_threads(count: int, work: Any) -> list[Any]:
    """Run `work` for each number at once, each on its own connection; returns the results."""

    def closing(number: int) -> Any:
        try:
            return work(number)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(closing, range(count)))
