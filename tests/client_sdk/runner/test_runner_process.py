"""The runner as a process: started, stopped and killed as users do, without exposing its key."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import clevagent
import pytest
from clevagent.testing import FakeServer

from tests.client_sdk.runner.conftest import command
from tests.client_sdk.runner.scripted import Scripted
from tests.flows.installation import PATIENCE, slowdown

pytestmark = pytest.mark.live

SDK = Path(clevagent.__file__).parents[1]
A = "systemd:a.service=bot"


class Program:
    """Starts `clevagent-runner` with the test's own state file, and kills what is still running at the end."""

    def __init__(self, server: FakeServer, folder: Path) -> None:
        self._folder, self.state = folder, folder / "state/runner.json"
        self.environment = {
            **{name: text for name, text in os.environ.items() if not name.startswith("CLEVAGENT")},
            "PYTHONPATH": str(SDK),
            "CLEVAGENT_API_KEY": server.key,
            "CLEVAGENT_ENDPOINT": server.url,
        }
        self.running: list[subprocess.Popen[str]] = []

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        arguments = [sys.executable, "-m", "clevagent.runner", *words, "--state", str(self.state)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            arguments, env={**self.environment, **environment}, stdout=pipe, stderr=pipe, text=True, cwd=self._folder
        )
        self.running.append(process)
        return process

    def watch(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        return self.start("start", "--watch", A, "--heartbeat-interval", "1", *words, **environment)

    def run(self, *words: str, **environment: str) -> tuple[int, str, str]:
        process = self.start(*words, **environment)
        out, err = process.communicate(timeout=PATIENCE)
        return process.returncode, out, err

    def orders(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self.state.read_text())["orders"]
            return found
        except FileNotFoundError:
            return {}


@pytest.fixture
def program(server: FakeServer, systemctl: Scripted, tmp_path: Path) -> Iterator[Program]:
    made = Program(server, tmp_path)
    yield made
    for process in made.running:
        process.kill()
        process.communicate()


def wait_for(true: Callable[[], Any], seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


class TestKill:
    def test_kill_before_the_report_repeats_nothing(
        self, program: Program, server: FakeServer, systemctl: Scripted
    ) -> None:
        systemctl.answers("restart", sleep=0.5)
        server.commands.append(command(7))
        runner = program.watch()
        wait_for(lambda: systemctl.called("restart"))
        server.status = 503
        wait_for(lambda: program.orders()["7"]["status"] == "completed")
        runner.kill()
        runner.wait()
        assert server.results == []
        server.status = 200
        server.commands.append(command(7))
        program.watch()
        server.wait_for(lambda: server.results)
        server.wait_for(lambda: server.commands == [])
        assert server.results == [(7, {"status": "completed", "message": "systemctl restarted a.service"})]
        assert len(systemctl.called("restart")) == 1

    def test_kill_during_a_command_reports_unknown(
        self, program: Program, server: FakeServer, systemctl: Scripted
    ) -> None:
        systemctl.answers("restart", sleep=3)
        server.commands.append(command(7))
        runner = program.watch()
        wait_for(lambda: systemctl.called("restart"))
        runner.kill()
        runner.wait()
        program.watch()
        server.wait_for(lambda: server.results)
        assert server.results[0][1]["status"] == "failed"
        assert "its outcome is unknown" in server.results[0][1]["message"]
        assert len(systemctl.called("restart")) == 1


class TestEnd:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_sigterm_ends_it_while_systemctl_hangs(
        self, program: Program, server: FakeServer, systemctl: Scripted, number: signal.Signals
    ) -> None:
        runner = program.watch()
        server.wait_for(1)
        systemctl.answers("show", sleep=30)
        wait_for(lambda: server.beats[-1]["seq"] > 0 and len(systemctl.calls) > 2)
        begun = time.monotonic()
        runner.send_signal(number)
        _, said = runner.communicate(timeout=PATIENCE)
        assert time.monotonic() - begun < min(5 * slowdown(), 25)
        assert (runner.returncode, "Traceback" in said) == (0, False)

    def test_ending_reports_nothing_about_targets(self, program: Program, server: FakeServer) -> None:
        runner = program.watch()
        server.wait_for(1)
        runner.terminate()
        runner.communicate(timeout=PATIENCE)
        assert {beat["status"] for beat in server.beats} == {"ok"}

    def test_missing_target_exits_with_2(self, program: Program, systemctl: Scripted) -> None:
        systemctl.answers("show", "LoadState=not-found\nActiveState=inactive\n")
        code, _, said = program.run("start", "--watch", A)
        assert (code, said.splitlines()[-1][:17]) == (2, "clevagent-runner:")
        assert "systemd has no unit a.service" in said


def test_key_is_in_no_argument_log_or_file(program: Program, server: FakeServer, tmp_path: Path) -> None:
    server.key = "cv_secret_of_the_test"
    server.commands.append(command(7, reason="cv_secret_of_the_test"))
    runner = program.watch("--log-level", "DEBUG", CLEVAGENT_API_KEY=server.key)
    server.wait_for(lambda: server.results)
    arguments = Path(f"/proc/{runner.pid}/cmdline").read_bytes()
    runner.terminate()
    out, said = runner.communicate(timeout=PATIENCE)
    assert "Command 7" in said
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    for text in (arguments, out.encode(), said.encode(), *written):
        assert b"cv_secret" not in text


class TestSystemd:
    @pytest.fixture
    def notified(self, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
        path = str(tmp_path / "n.sock")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
            listening.bind(path)
            listening.settimeout(PATIENCE)
            yield path, listening

    def test_systemd_hears_ready_and_watchdog(
        self, program: Program, server: FakeServer, notified: tuple[str, socket.socket]
    ) -> None:
        path, listening = notified
        runner = program.watch(NOTIFY_SOCKET=path)
        assert b"READY=1" in listening.recv(1000)
        assert b"WATCHDOG=1" in listening.recv(1000)
        runner.terminate()
        while b"STOPPING=1" not in listening.recv(1000):
            pass


class TestStatus:
    def test_status_shows_the_last_observations(
        self, program: Program, server: FakeServer, systemctl: Scripted
    ) -> None:
        systemctl.answers("show", "LoadState=loaded\nActiveState=failed\nResult=watchdog\nNRestarts=3\n")
        runner = program.watch()
        server.wait_for(1)
        wait_for(lambda: 'told_at": 1' in program.state.read_text())
        code, out, _ = program.run("status")
        assert code == 0
        assert f"running as process {runner.pid}" in out
        assert "systemd:a.service as bot: stopped, systemd says failed (watchdog), restarted 3 times, seen" in out

    def test_status_reports_a_stopped_runner(self, program: Program, server: FakeServer) -> None:
        runner = program.watch()
        server.wait_for(1)
        runner.kill()
        runner.wait()
        code, out, _ = program.run("status")
        assert (code, out.splitlines()[0]) == (1, "runner: not running; it last saw")

    def test_status_without_a_state_file(self, program: Program) -> None:
        code, _, said = program.run("status")
        assert code == 2
        assert "--state or --name" in said


class TestCheck:
    def test_check_passes(self, program: Program) -> None:
        code, out, _ = program.run("check", "--watch", A)
        assert code == 0
        assert [line.split(":")[0] for line in out.splitlines()] == [
            "ok    server",
            "ok    key",
            "ok    clock",
            "ok    systemd",
        ]

    def test_check_reports_key_unit_and_server_problems(self, program: Program, systemctl: Scripted) -> None:
        systemctl.answers("show", "LoadState=not-found\nActiveState=inactive\n")
        code, out, _ = program.run("check", "--watch", A, CLEVAGENT_API_KEY="cv_wrong")
        assert code == 1
        assert "FAIL  key: refused (401: " in out
        assert "FAIL  systemd:a.service: unknown, reports as bot: systemd has no unit a.service" in out
        with FakeServer() as gone:
            address = gone.url
        code, out, _ = program.run("check", "--watch", A, CLEVAGENT_ENDPOINT=address)
        assert code == 1
        assert "start the server or fix --endpoint" in out

    def test_check_changes_nothing(self, program: Program, server: FakeServer, systemctl: Scripted) -> None:
        program.run("check", "--watch", A)
        assert not program.state.exists()
        assert server.beats == []
        assert not systemctl.called("restart")


class TestDryRun:
    def test_dry_run_prints_and_sends_nothing(self, program: Program, server: FakeServer, systemctl: Scripted) -> None:
        systemctl.answers("show", "LoadState=loaded\nActiveState=failed\nResult=watchdog\n")
        code, out, _ = program.run("start", "--watch", A, "--dry-run", "--restart-on-down")
        found = json.loads(out)
        assert (code, found["status"], found["would_restart"]) == (0, "error", True)
        assert server.requests == []
        assert not systemctl.called("restart")
        assert not program.state.exists()
