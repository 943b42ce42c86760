"""Real processes: by PID file, by command line, and started by the runner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clevagent.runner import backends, processes
from clevagent.runner.backends import process
from clevagent.runner.backends.base import State
from clevagent.runner.backends.process import Processes
from clevagent.runner.target import Target, make_target, parse

from tests.flows.installation import PATIENCE

SLEEPS = ["sleep", "4711"]


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "987654"]) as child:
        yield child
        child.kill()


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Processes]:
    monkeypatch.setattr(process, "SETTLE_TIME", 0.3)
    made = Processes()
    made.folder = tmp_path / "state"
    yield made
    for child in made._children.values():
        child.kill()
        child.wait()


def own(**options: Any) -> Target:
    return make_target("process", "agent", "agent", options={"command": SLEEPS, **options})


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def pid_file(folder: Path, pid: object, age: float = 0) -> Target:
    path = folder / "agent.pid"
    path.write_text(f"{pid}\n")
    os.utime(path, (time.time() - age,) * 2)
    return parse(f"process:{path}")


class TestProcess:
    def test_process_backend_is_registered(self) -> None:
        assert backends.of("process") is process.BACKEND

    def test_foreign_process_cannot_be_controlled(self, backend: Processes) -> None:
        for act in (backend.restart, backend.stop):
            outcome = act(parse("process:python3 agent.py"), 5)
            assert not outcome.ok
            assert "command in the TOML file" in outcome.message

    @pytest.mark.parametrize(
        "options",
        [
            {"command": "python3 agent.py"},
            {"command": []},
            {"command": ["a", 1]},
            {"cwd": "/tmp"},
            {"command": ["a"], "env": {"A": 1}},
            {"command": ["a"], "stop_within": True},
            {"command": ["a"], "cwd": 1},
        ],
    )
    def test_invalid_options_are_refused(self, backend: Processes, options: dict[str, Any]) -> None:
        assert backend.validation_error(make_target("process", "agent", options=options))
        assert backend.validation_error(own(cwd="/", env={"A": "1"}, stop_within=3)) == ""


class TestPidFile:
    def test_process_of_a_pid_file_is_running(
        self, backend: Processes, tmp_path: Path, sleeper: subprocess.Popen[bytes]
    ) -> None:
        seen = backend.check(pid_file(tmp_path, sleeper.pid), 5)
        assert seen.state is State.RUNNING
        assert seen.evidence["pid"] == sleeper.pid

    def test_pid_file_older_than_its_process_is_stale(
        self, backend: Processes, tmp_path: Path, sleeper: subprocess.Popen[bytes]
    ) -> None:
        seen = backend.check(pid_file(tmp_path, sleeper.pid, age=60), 5)
        assert seen.state is State.STOPPED
        assert "another process has its id now" in seen.why

    def test_ended_process_and_zombie_are_stopped(
        self, backend: Processes, tmp_path: Path, sleeper: subprocess.Popen[bytes]
    ) -> None:
        target = pid_file(tmp_path, sleeper.pid)
        sleeper.kill()
        wait_until(lambda: backend.check(target, 5).state is State.STOPPED)
        assert Path(f"/proc/{sleeper.pid}").exists() or sys.platform != "linux"

    def test_missing_or_malformed_pid_file(self, backend: Processes, tmp_path: Path) -> None:
        assert backend.check(parse(f"process:{tmp_path}/none.pid"), 5).state is State.STOPPED
        assert backend.check(pid_file(tmp_path, ""), 5).state is State.UNKNOWN
        assert backend.check(pid_file(tmp_path, "soon"), 5).state is State.UNKNOWN

    def test_unreadable_pid_file_is_unknown(self, backend: Processes, tmp_path: Path) -> None:
        assert backend.check(parse(f"process:{tmp_path}"), 5).state is State.UNKNOWN


class TestCommandLine:
    def test_command_line_must_match_exactly(self, backend: Processes, sleeper: subprocess.Popen[bytes]) -> None:
        wait_until(lambda: backend.check(parse("process:sleep 987654"), 5).state is State.RUNNING)
        assert backend.check(parse("process:sleep 98765"), 5).state is State.STOPPED
        assert backend.check(parse("process:sleep"), 5).state is State.STOPPED

    def test_matching_processes_are_counted(self, backend: Processes, sleeper: subprocess.Popen[bytes]) -> None:
        with subprocess.Popen(["sleep", "987654"]) as second:
            wait_until(lambda: backend.check(parse("process:sleep 987654"), 5).evidence.get("processes") == 2)
            second.kill()

    def test_unlistable_processes_are_unknown(self, backend: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
        def refused(timeout: float) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(processes, "every", refused)
        assert backend.check(parse("process:sleep 1"), 5).state is State.UNKNOWN


class TestOwnProcess:
    def test_command_is_started_once(self, backend: Processes) -> None:
        backend.start_if_needed(own())
        pid = backend.check(own(), 5).evidence["pid"]
        backend.start_if_needed(own())
        assert backend.check(own(), 5).evidence["pid"] == pid

    def test_restart_starts_a_new_process(self, backend: Processes) -> None:
        backend.start_if_needed(own())
        pid = backend.check(own(), 5).evidence["pid"]
        assert backend.restart(own(), 10).ok
        assert backend.check(own(), 5).evidence["pid"] != pid
        assert processes.find(int(pid), 5) is None

    def test_child_that_ends_during_a_look_is_reaped(self, backend: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
        """Otherwise it stays a zombie, and its Popen warns when the next one replaces it."""
        backend.start_if_needed(own())
        child = next(iter(backend._children.values()))
        look = processes.find

        def find_after_its_end(pid: int, timeout: float) -> processes.Process | None:
            os.kill(child.pid, signal.SIGKILL)
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
            return look(pid, timeout)

        monkeypatch.setattr(processes, "find", find_after_its_end)
        assert backend.check(own(), 5).state is State.STOPPED
        assert child.returncode == -signal.SIGKILL

    def test_child_is_seen_when_its_id_could_not_be_stored(self, backend: Processes) -> None:
        backend.start_if_needed(own())
        backend._file(own()).unlink()
        assert backend.check(own(), 5).state is State.RUNNING

    def test_stop_kills_stubborn_process_groups(self, backend: Processes, tmp_path: Path) -> None:
        script = f"trap '' TERM; sleep 4712 & echo $! > {tmp_path}/child; while :; do sleep 0.1; done"
        target = own(command=["sh", "-c", script], stop_within=0.2)
        backend.start_if_needed(target)
        outcome = backend.stop(target, 10)
        assert (outcome.ok, "SIGKILL" in outcome.message) == (True, True)
        assert backend.check(target, 5).state is State.STOPPED
        wait_until(lambda: processes.find(int((tmp_path / "child").read_text()), 5) is None)

    def test_exit_is_reported(self, backend: Processes) -> None:
        backend.start_if_needed(own())
        os.kill(int(backend.check(own(), 5).evidence["pid"]), signal.SIGSEGV)
        wait_until(lambda: backend.check(own(), 5).state is State.STOPPED)
        seen = backend.check(own(), 5)
        assert (seen.why, seen.evidence, seen.ended) == ("it ended by signal 11", {"ExitCode": -11}, False)

    def test_immediate_exit_fails_the_restart(self, backend: Processes) -> None:
        outcome = backend.restart(own(command=["false"]), 5)
        assert not outcome.ok
        assert "exited immediately with code 1" in outcome.message

    def test_failed_start_is_reported(self, backend: Processes) -> None:
        assert "no-such-program could not be started" in backend.restart(own(command=["no-such-program"]), 5).message

    def test_next_runner_recognises_the_process(self, backend: Processes) -> None:
        backend.start_if_needed(own())
        after = Processes()
        after.folder = backend.folder
        assert after.check(own(), 5).evidence == backend.check(own(), 5).evidence
        after.start_if_needed(own())
        assert after._children == {}

    def test_reused_pid_is_not_mistaken(self, backend: Processes, sleeper: subprocess.Popen[bytes]) -> None:
        backend.folder.mkdir()
        (backend.folder / "process-agent.json").write_text(f'{{"pid": {sleeper.pid}, "mark": "before"}}')
        assert backend.check(own(), 5).state is State.STOPPED
        assert backend.stop(own(), 5).ok
        assert sleeper.poll() is None

    def test_child_gets_a_log_but_no_systemd_variables(
        self, backend: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("NOTIFY_SOCKET", "/run/x")
        script = 'echo "[$NOTIFY_SOCKET] $A in $PWD"; sleep 4711'
        log = tmp_path / "log"
        backend.start_if_needed(own(command=["sh", "-c", script], env={"A": "b"}, cwd=str(tmp_path), log=str(log)))
        wait_until(lambda: log.exists() and log.read_text() == f"[] b in {tmp_path}\n")


class TestPs:
    """Simulates a system without /proc."""

    @pytest.fixture(autouse=True)
    def without_proc(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(processes, "PROC", tmp_path / "none")
        monkeypatch.setenv("TZ", "UTC")

    def test_process_has_start_time_and_command(self, sleeper: subprocess.Popen[bytes]) -> None:
        found = processes.find(sleeper.pid, 5)
        assert found is not None
        assert found.command == "sleep 987654"
        assert abs(found.started - time.time()) < 10
        assert found.mark == (processes.find(sleeper.pid, 5) or found).mark

    def test_ended_process_is_not_found(self, sleeper: subprocess.Popen[bytes]) -> None:
        sleeper.kill()
        wait_until(lambda: processes.find(sleeper.pid, 5) is None)

    def test_all_processes_are_listed(self, sleeper: subprocess.Popen[bytes]) -> None:
        assert {sleeper.pid, os.getpid()} <= {found.pid for found in processes.every(5)}

    def test_missing_ps_is_reported(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(OSError, match="ps could not be started"):
            processes.every(5)
