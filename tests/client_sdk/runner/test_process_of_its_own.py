"""The runner as users start it: a process, which is stopped, killed, and must not show its key."""

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
    """Starts `clevagent-runner` with a state file of the test's own; whatever still runs at the end is killed."""

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
    def test_between_acting_and_reporting_it_is_acted_once_and_reported_once(
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

    def test_while_acting_it_is_acted_once_and_reported_as_not_known(
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
        assert "whether it was done is not known" in server.results[0][1]["message"]
        assert len(systemctl.called("restart")) == 1


class TestEnd:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_ends_it_soon_and_cleanly_though_systemctl_hangs(
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

    def test_it_says_nothing_false_of_its_targets(self, program: Program, server: FakeServer) -> None:
        runner = program.watch()
        server.wait_for(1)
        runner.terminate()
        runner.communicate(timeout=PATIENCE)
        assert {beat["status"] for beat in server.beats} == {"ok"}

    def test_a_target_that_does_not_exist_ends_the_start_with_2(self, program: Program, systemctl: Scripted) -> None:
        systemctl.answers("show", "LoadState=not-found\nActiveState=inactive\n")
        code, _, said = program.run("start", "--watch", A)
        assert (code, said.splitlines()[-1][:17]) == (2, "clevagent-runner:")
        assert "systemd knows no unit a.service" in said


def test_the_key_is_in_no_argument_no_log_and_no_file(program: Program, server: FakeServer, tmp_path: Path) -> None:
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

    def test_it_is_told_when_the_runner_is_ready_and_that_it_is_well(
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
    def test_it_shows_what_the_running_runner_last_saw(
        self, program: Program, server: FakeServer, systemctl: Scripted
    ) -> None:
        systemctl.answers("show", "LoadState=loaded\nActiveState=failed\nResult=watchdog\nNRestarts=3\n")
        runner = program.watch()
        server.wait_for(1)
        wait_for(lambda: 'told_at": 1' in program.state.read_text())
        code, out, _ = program.run("status")
        assert code == 0
        assert f"process {runner.pid} runs" in out
        assert "systemd:a.service as bot: stopped, systemd says failed (watchdog), restarted 3 times, seen" in out

    def test_of_a_runner_that_does_not_run_it_says_so(self, program: Program, server: FakeServer) -> None:
        runner = program.watch()
        server.wait_for(1)
        runner.kill()
        runner.wait()
        code, out, _ = program.run("status")
        assert (code, out.splitlines()[0]) == (1, "runner: not running; what follows is what it last saw")

    def test_without_a_state_file_it_says_what_to_name(self, program: Program) -> None:
        code, _, said = program.run("status")
        assert code == 2
        assert "--state or --name" in said


class TestCheck:
    def test_all_is_well(self, program: Program) -> None:
        code, out, _ = program.run("check", "--watch", A)
        assert code == 0
        assert [line.split(":")[0] for line in out.splitlines()] == [
            "ok    server",
            "ok    key",
            "ok    clock",
            "ok    systemd",
        ]

    def test_a_wrong_key_a_missing_unit_and_a_dead_server_are_said(self, program: Program, systemctl: Scripted) -> None:
        systemctl.answers("show", "LoadState=not-found\nActiveState=inactive\n")
        code, out, _ = program.run("check", "--watch", A, CLEVAGENT_API_KEY="cv_wrong")
        assert code == 1
        assert "FAIL  key: refused (401)" in out
        assert "FAIL  systemd:a.service: unknown, reports as bot: systemd knows no unit a.service" in out
        with FakeServer() as gone:
            address = gone.url
        code, out, _ = program.run("check", "--watch", A, CLEVAGENT_ENDPOINT=address)
        assert code == 1
        assert "start the server, or correct --endpoint" in out

    def test_it_changes_nothing(self, program: Program, server: FakeServer, systemctl: Scripted) -> None:
        program.run("check", "--watch", A)
        assert not program.state.exists()
        assert server.beats == []
        assert not systemctl.called("restart")


class TestDryRun:
    def test_it_says_what_would_be_reported_and_sends_nothing(
        self, program: Program, server: FakeServer, systemctl: Scripted
    ) -> None:
        systemctl.answers("show", "LoadState=loaded\nActiveState=failed\nResult=watchdog\n")
        code, out, _ = program.run("start", "--watch", A, "--dry-run", "--restart-on-down")
        found = json.loads(out)
        assert (code, found["status"], found["would_restart"]) == (0, "error", True)
        assert server.requests == []
        assert not systemctl.called("restart")
        assert not program.state.exists()
