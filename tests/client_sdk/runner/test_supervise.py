"""The runner's own health and shutdown."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import clevagent
import pytest
from clevagent.runner.supervise import STUCK_MARGIN
from clevagent.testing import FakeServer

from tests.client_sdk.runner.conftest import Runners, command
from tests.client_sdk.runner.scripted import Scripted
from tests.client_sdk.runner.test_watch import A


def test_healthy_while_every_watch_checks(runners: Runners, server: FakeServer) -> None:
    runner = runners.start(A, "systemd:b.service")
    server.wait_for(2)
    assert runner.is_healthy(time.monotonic())
    assert not runner.is_healthy(time.monotonic() + STUCK_MARGIN + 10)


def test_unhealthy_when_a_thread_died(runners: Runners, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: Any) -> None:
        """Returns immediately."""

    monkeypatch.setattr("clevagent.runner.commands.CommandExecutor.poll_forever", nothing)
    runner = runners.start(A)
    server.wait_for(1)
    assert not runner.is_healthy(time.monotonic())


def test_running_restart_may_finish_before_the_end(runners: Runners, server: FakeServer, systemctl: Scripted) -> None:
    systemctl.answers("restart", sleep=0.5)
    server.commands.append(command(7))
    runner = runners.start(A)
    server.wait_for(lambda: systemctl.called("restart"))
    runners.end()
    assert runner.store.kept.commands["7"].status == "completed"


def test_end_can_be_requested_while_waiting() -> None:
    code = """
        import signal
        from clevagent.runner.config import Settings
        from clevagent.runner.state import Store
        from clevagent.runner.supervise import Supervisor
        runner = Supervisor(Settings(targets=(), api_key="k", endpoint="http://127.0.0.1:9", name="test"), Store(None))
        signal.signal(signal.SIGALRM, lambda *_: runner.request_end())
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0005)
        for _ in range(100_000):
            runner.request_end()
            runner.wait()
        signal.setitimer(signal.ITIMER_REAL, 0)
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(clevagent.__file__).parents[1])}
    program = [sys.executable, "-c", textwrap.dedent(code)]
    assert subprocess.run(program, env=environment, timeout=60).returncode == 0


def test_first_checks_run_in_parallel(runners: Runners, systemctl: Scripted) -> None:
    systemctl.answers("show", "LoadState=loaded\nActiveState=active\n", sleep=2)
    begun = time.monotonic()
    runners.start(*(f"systemd:{name}.service" for name in "abcdef"))
    assert time.monotonic() - begun < 2 * 6 - 2
