"""The runner's real heartbeats in the server's real detector."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from clevagent.runner.backends import systemd
from clevagent.runner.backends.base import Observation, State
from clevagent.runner.commands import CommandExecutor
from clevagent.runner.state import Store
from clevagent.runner.target import Target, parse
from clevagent.runner.watch import Watch
from clevagent.transport import Answer

from agents.models import Status
from tests.agents.conftest import World, world  # noqa: F401

RUNS = Observation(State.RUNNING, {"ActiveState": "active", "NRestarts": 0})
FAILED = Observation(State.STOPPED, {"Result": "watchdog", "NRestarts": 3}, "systemd says failed (watchdog)")
BLIND = Observation(State.UNKNOWN, why="systemctl did not answer within 10 s")


class Line:
    """The runner's `Server`, connected to a World."""

    problem = ""

    def __init__(self, server: World) -> None:
        self._world, self.at = server, 0.0

    def ask(self, method: str, path: str, body: Any = None) -> Answer | None:
        assert (method, path) == ("POST", "/heartbeat")
        answer = self._world.beat(self.at, **body)
        return Answer(200, answer.as_dict())


class Watched:
    """A target with scripted observations, every 30 s."""

    def __init__(self, server: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world, self._line, self._patch = server, Line(server), monkeypatch
        self.store, ended = Store(None), threading.Event()
        desk = CommandExecutor(self._line, self.store, dict, ended, lambda target: None)  # type: ignore[arg-type]
        target = parse("systemd:bot.service=bot")
        self.watch = Watch(target, self._line, self.store, desk, 30.0, ended)  # type: ignore[arg-type]
        self.at = 0.0

    def sees(self, seen: Observation, *, times: int = 1) -> None:
        def check(target: Target, timeout: float) -> Observation:
            return seen

        self._patch.setattr(systemd, "check", check)
        for _ in range(times):
            self._line.at = self.at
            assert self.watch.check_once(1e9 + self.at)
            self.world.watch(self.at + 1, self.at + 29)
            self.at += 30

    @property
    def status(self) -> str:
        return str(self.world.state().status)


@pytest.fixture
def watched(world: World, monkeypatch: pytest.MonkeyPatch) -> Watched:  # noqa: F811
    return Watched(world, monkeypatch)


def test_server_shows_a_running_target_as_ok(watched: Watched) -> None:
    watched.sees(RUNS, times=4)
    assert watched.status == Status.OK
    assert watched.world.incidents() == []


def test_down_target_opens_one_incident(
    watched: Watched,
) -> None:
    watched.sees(RUNS)
    watched.sees(FAILED, times=4)
    assert watched.status == Status.DOWN
    [incident] = watched.world.incidents()
    assert "systemd says failed (watchdog)" in incident.reason
    watched.sees(RUNS, times=4)
    assert watched.status == Status.OK
    assert [each.state for each in watched.world.incidents()] == ["resolved"]


def test_unknown_target_opens_no_incident(watched: Watched) -> None:
    watched.sees(RUNS)
    watched.sees(BLIND, times=10)
    assert watched.world.incidents() == []
    assert watched.status == Status.WARNING


def test_unknown_target_keeps_its_incident_open(watched: Watched) -> None:
    watched.sees(FAILED, times=2)
    watched.sees(BLIND, times=4)
    assert watched.status == Status.DOWN
    assert [each.state for each in watched.world.incidents()] == ["open"]


def test_requested_stop_opens_no_incident(watched: Watched) -> None:
    watched.sees(RUNS)
    with watched.store.changing():
        watched.watch.memory.held_at = 1e9
    watched.sees(FAILED, times=10)
    assert watched.status == Status.STOPPED
    assert watched.world.incidents() == []


def test_silent_runner_opens_an_incident(watched: Watched) -> None:
    watched.sees(RUNS, times=2)
    watched.world.watch(60, 160)
    assert watched.status == Status.DOWN
    assert watched.world.kinds() == ["missed_heartbeat"]
