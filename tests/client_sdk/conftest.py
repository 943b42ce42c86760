"""Fixtures for SDK tests: a server that speaks the API, and user programs that run against it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import clevagent
import pytest
from clevagent.testing import FakeServer

from tests.flows.installation import PATIENCE

SDK = Path(__file__).resolve().parents[2] / "client_sdk"


class PatientServer(FakeServer):
    """Waits long enough for a machine that is busy with something else; only a failing test waits that long."""

    def wait_for(self, what: int | Callable[[], Any], seconds: float = PATIENCE) -> Any:
        return super().wait_for(what, seconds)


@pytest.fixture(autouse=True)
def _own_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with PatientServer() as running:
        yield running


@pytest.fixture
def quiet_end() -> Iterator[None]:
    """End reporting after each test."""
    yield
    clevagent.shutdown()


class Program:
    """A user's program in its own Python process, where every warning is an error."""

    def __init__(self, server: FakeServer, folder: Path) -> None:
        self._server, self._folder = server, folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CLEVAGENT")},
            "PYTHONPATH": str(SDK),
            "CLEVAGENT_API_KEY": server.key,
            "CLEVAGENT_ENDPOINT": server.url,
            "CLEVAGENT_AGENT": "bot",
            # Unsent heartbeats are stored here, not in the folder of whoever runs the tests.
            "XDG_STATE_HOME": str(folder / "state"),
        }

    def start(self, code: str, *, env: dict[str, str] | None = None, **more: Any) -> subprocess.Popen[str]:
        """Start it as a person would. Background jobs of a script ignore SIGINT, and children inherit that."""
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        file = self._folder / "agent.py"
        file.write_text(textwrap.dedent(code))
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [sys.executable, "-W", "error", str(file)],
            env={**self.environment, **(env or {})},
            cwd=self._folder,
            stdout=pipe,
            stderr=pipe,
            text=True,
            **more,
        )

    def run(self, code: str, seconds: float = PATIENCE, **more: Any) -> subprocess.CompletedProcess[str]:
        with self.start(code, **more) as process:
            try:
                out, err = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture
def program(server: FakeServer, tmp_path: Path) -> Program:
    return Program(server, tmp_path)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now
