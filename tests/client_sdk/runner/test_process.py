"""Plain processes, real ones: by PID file, by command line, and started by the runner itself."""

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
from clevagent.runner.target import Target, made, parse

from tests.flows.installation import PATIENCE

SLEEPS = ["sleep", "4711"]


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "987654"]) as child:
        yield child
        child.kill()


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Processes]:
    monkeypatch.setattr(process, "SETTLES", 0.3)
    made = Processes()
    made.folder = tmp_path / "state"
    yield made
    for child in made._children.values():
        child.kill()
        child.wait()


def own(**options: Any) -> Target:
    return made("process", "agent", "agent", options={"command": SLEEPS, **options})


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
    def test_it_is_in_the_list(self) -> None:
        assert backends.of("process") is process.BACKEND

    def test_a_process_that_is_not_the_runners_cannot_be_restarted_or_stopped(self, backend: Processes) -> None:
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
    def test_bad_options_are_complained_about(self, backend: Processes, options: dict[str, Any]) -> None:
        assert backend.complaint(made("process", "agent", options=options))
        assert backend.complaint(own(cwd="/", env={"A": "1"}, stop_within=3)) == ""


class TestPidFile:
    def test_its_process_runs(self, backend: Processes, tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
        seen = backend.check(pid_file(tmp_path, sleeper.pid), 5)
        assert seen.state is State.RUNNING
        assert seen.evidence["pid"] == sleeper.pid

    def test_a_file_from_before_the_process_names_another_one(
        self, backend: Processes, tmp_path: Path, sleeper: subprocess.Popen[bytes]
    ) -> None:
        seen = backend.check(pid_file(tmp_path, sleeper.pid, age=60), 5)
        assert seen.state is State.STOPPED
        assert "another one has its id now" in seen.why

    def test_a_process_that_has_ended_is_stopped_also_while_it_is_a_zombie(
        self, backend: Processes, tmp_path: Path, sleeper: subprocess.Popen[bytes]
    ) -> None:
        target = pid_file(tmp_path, sleeper.pid)
        sleeper.kill()
        wait_until(lambda: backend.check(target, 5).state is State.STOPPED)
        assert Path(f"/proc/{sleeper.pid}").exists() or sys.platform != "linux"

    def test_no_file_is_stopped_and_a_file_without_a_number_is_unknown(
        self, backend: Processes, tmp_path: Path
    ) -> None:
        assert backend.check(parse(f"process:{tmp_path}/none.pid"), 5).state is State.STOPPED
        assert backend.check(pid_file(tmp_path, ""), 5).state is State.UNKNOWN
        assert backend.check(pid_file(tmp_path, "soon"), 5).state is State.UNKNOWN

    def test_a_file_that_cannot_be_read_is_unknown(self, backend: Processes, tmp_path: Path) -> None:
        assert backend.check(parse(f"process:{tmp_path}"), 5).state is State.UNKNOWN


class TestCommandLine:
    def test_it_has_to_be_exact(self, backend: Processes, sleeper: subprocess.Popen[bytes]) -> None:
        wait_until(lambda: backend.check(parse("process:sleep 987654"), 5).state is State.RUNNING)
        assert backend.check(parse("process:sleep 98765"), 5).state is State.STOPPED
        assert backend.check(parse("process:sleep"), 5).state is State.STOPPED

    def test_several_are_counted(self, backend: Processes, sleeper: subprocess.Popen[bytes]) -> None:
        with subprocess.Popen(["sleep", "987654"]) as second:
            wait_until(lambda: backend.check(parse("process:sleep 987654"), 5).evidence.get("processes") == 2)
            second.kill()

    def test_processes_that_cannot_be_seen_are_unknown(
        self, backend: Processes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refused(timeout: float) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(processes, "every", refused)
        assert backend.check(parse("process:sleep 1"), 5).state is State.UNKNOWN


class TestOwnProcess:
    def test_it_is_started_once(self, backend: Processes) -> None:
        backend.begin(own())
        pid = backend.check(own(), 5).evidence["pid"]
        backend.begin(own())
        assert backend.check(own(), 5).evidence["pid"] == pid

    def test_a_restart_is_another_process(self, backend: Processes) -> None:
        backend.begin(own())
        pid = backend.check(own(), 5).evidence["pid"]
        assert backend.restart(own(), 10).ok
        assert backend.check(own(), 5).evidence["pid"] != pid
        assert processes.find(int(pid), 5) is None

    def test_a_stop_is_for_its_children_too_and_kills_what_does_not_listen(
        self, backend: Processes, tmp_path: Path
    ) -> None:
        script = f"trap '' TERM; sleep 4712 & echo $! > {tmp_path}/child; while :; do sleep 0.1; done"
        target = own(command=["sh", "-c", script], stop_within=0.2)
        backend.begin(target)
        outcome = backend.stop(target, 10)
        assert (outcome.ok, "SIGKILL" in outcome.message) == (True, True)
        assert backend.check(target, 5).state is State.STOPPED
        wait_until(lambda: processes.find(int((tmp_path / "child").read_text()), 5) is None)

    def test_how_it_ended_is_told(self, backend: Processes) -> None:
        backend.begin(own())
        os.kill(int(backend.check(own(), 5).evidence["pid"]), signal.SIGSEGV)
        wait_until(lambda: backend.check(own(), 5).state is State.STOPPED)
        seen = backend.check(own(), 5)
        assert (seen.why, seen.evidence, seen.ended) == ("it ended by signal 11", {"ExitCode": -11}, False)

    def test_one_that_ends_at_once_was_not_restarted(self, backend: Processes) -> None:
        outcome = backend.restart(own(command=["false"]), 5)
        assert not outcome.ok
        assert "exit code 1" in outcome.message

    def test_one_that_cannot_be_started_says_so(self, backend: Processes) -> None:
        assert "no-such-program could not be started" in backend.restart(own(command=["no-such-program"]), 5).message

    def test_the_next_runner_knows_it_again(self, backend: Processes) -> None:
        backend.begin(own())
        after = Processes()
        after.folder = backend.folder
        assert after.check(own(), 5).evidence == backend.check(own(), 5).evidence
        after.begin(own())
        assert after._children == {}

    def test_another_process_of_its_id_is_not_taken_for_it(
        self, backend: Processes, sleeper: subprocess.Popen[bytes]
    ) -> None:
        backend.folder.mkdir()
        (backend.folder / "process-agent.json").write_text(f'{{"pid": {sleeper.pid}, "mark": "before"}}')
        assert backend.check(own(), 5).state is State.STOPPED
        assert backend.stop(own(), 5).ok
        assert sleeper.poll() is None

    def test_its_output_goes_to_its_log_and_systemds_words_are_kept_from_it(
        self, backend: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("NOTIFY_SOCKET", "/run/x")
        script = 'echo "[$NOTIFY_SOCKET] $A in $PWD"; sleep 4711'
        log = tmp_path / "log"
        backend.begin(own(command=["sh", "-c", script], env={"A": "b"}, cwd=str(tmp_path), log=str(log)))
        wait_until(lambda: log.exists() and log.read_text() == f"[] b in {tmp_path}\n")


class TestPs:
    """Where there is no /proc."""

    @pytest.fixture(autouse=True)
    def without_proc(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(processes, "PROC", tmp_path / "none")
        monkeypatch.setenv("TZ", "UTC")

    def test_a_process_is_found_with_its_start_and_command(self, sleeper: subprocess.Popen[bytes]) -> None:
        found = processes.find(sleeper.pid, 5)
        assert found is not None
        assert found.command == "sleep 987654"
        assert abs(found.started - time.time()) < 10
        assert found.mark == (processes.find(sleeper.pid, 5) or found).mark

    def test_one_that_has_ended_is_not_found(self, sleeper: subprocess.Popen[bytes]) -> None:
        sleeper.kill()
        wait_until(lambda: processes.find(sleeper.pid, 5) is None)

    def test_all_are_listed(self, sleeper: subprocess.Popen[bytes]) -> None:
        assert {sleeper.pid, os.getpid()} <= {found.pid for found in processes.every(5)}

    def test_a_machine_without_ps_says_so(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(OSError, match="ps could not be started"):
            processes.every(5)
