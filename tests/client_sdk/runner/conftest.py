"""A runner in this process, with a scripted systemctl and `clevagent.testing.FakeServer`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clevagent.runner import commands, watch
from clevagent.runner.config import Settings
from clevagent.runner.state import Store
from clevagent.runner.supervise import Supervisor
from clevagent.runner.target import Target, parse
from clevagent.testing import FakeServer

from tests.client_sdk.runner.scripted import Scripted, shown


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """Every unit runs, until a test changes that."""
    scripted = Scripted(tmp_path / "bin", "systemctl").on_path(monkeypatch)
    scripted.answers("show", shown())
    return scripted


class Runners:
    """Starts runners that end with the test; `again` restarts the runner with the same state file."""

    def __init__(self, server: FakeServer, folder: Path) -> None:
        self._server, self.path = server, folder / "state/runner.json"
        self._running: list[Supervisor] = []

    def start(self, *targets: str | Target, **more: Any) -> Supervisor:
        made = tuple(parse(each) if isinstance(each, str) else each for each in targets)
        given = {"endpoint": self._server.url, "interval": 0.1, "name": "test", "state": str(self.path), **more}
        supervisor = Supervisor(Settings(targets=made, api_key=self._server.key, **given), Store(self.path))
        self._running.append(supervisor)
        supervisor.begin()
        return supervisor

    def end(self) -> None:
        while self._running:
            supervisor = self._running.pop()
            supervisor.end()
            for thread in supervisor._threads:
                thread.join(60)
                assert not thread.is_alive(), thread.name
            supervisor.store.close()

    def again(self, *targets: str | Target, **more: Any) -> Supervisor:
        self.end()
        return self.start(*targets, **more)


@pytest.fixture
def runners(
    server: FakeServer, systemctl: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Runners]:
    monkeypatch.setattr(commands, "POLL_INTERVAL", 0.05)
    monkeypatch.setattr(commands, "MAX_POLL_DELAY", 0.2)
    monkeypatch.setattr(commands, "FIRST_REPORT_DELAY", 0.05)
    monkeypatch.setattr(watch, "RESEND_DELAY", 0.05)
    made = Runners(server, tmp_path)
    yield made
    made.end()


def command(number: int, action: str = "restart", target: str = "a.service", **more: Any) -> dict[str, Any]:
    """A command as sent by the server."""
    return {"id": number, "action": action, "type": "systemd", "target": target, "expires_in": 300, **more}
