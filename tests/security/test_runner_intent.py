"""The runner's side of intents and commands: it remembers a stop, and acts only for its targets' own agents."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from clevagent.runner import backends
from clevagent.runner.backends import launchd, systemd
from clevagent.runner.backends.base import Observation, State
from clevagent.runner.backends.docker import Docker
from clevagent.runner.backends.process import Processes
from clevagent.runner.target import Target, make_target, parse
from clevagent.testing import FakeServer

from tests.client_sdk.conftest import server
from tests.client_sdk.runner.conftest import Runners, command, runners, systemctl
from tests.client_sdk.runner.fake_api import FakeApi
from tests.client_sdk.runner.scripted import Scripted, shown
from tests.client_sdk.runner.test_docker import bot, engine, holds
from tests.client_sdk.runner.test_launchd import JOB, printed
from tests.client_sdk.runner.test_watch import ON_DOWN, A, asked, polled, says

__all__ = ["bot", "engine", "runners", "server", "systemctl"]

ENDED = Observation(State.STOPPED, why="stopped by someone", ended=True, run="1")
FORGOTTEN = Observation(State.STOPPED, why="exited", run="1")
DOUBTFUL = Observation(State.STOPPED, why="exited", doubtful=True, run="1")
NEXT_RUN = Observation(State.STOPPED, why="exited", run="2")
RUNNING = Observation(State.RUNNING, run="3")


@pytest.fixture
def sees(monkeypatch: pytest.MonkeyPatch) -> list[Observation]:
    """What the backend sees from now on: its last item."""
    seen = [RUNNING]
    monkeypatch.setattr("clevagent.runner.watch.CONFIRM_DELAY", 0.0)
    monkeypatch.setattr(systemd, "check", lambda target, timeout: seen[-1])
    return seen


def checked(server: FakeServer, times: int = 4) -> None:
    server.wait_for(len(server.beats) + times)


class TestMemory:
    def test_failure_asks_for_a_restart(self, runners: Runners, server: FakeServer, sees: list[Observation]) -> None:
        sees.append(FORGOTTEN)
        runners.start(ON_DOWN)
        server.wait_for(lambda: asked(server))

    @pytest.mark.parametrize("then", [ENDED, FORGOTTEN, DOUBTFUL])
    def test_stop_is_remembered(
        self, runners: Runners, server: FakeServer, sees: list[Observation], then: Observation
    ) -> None:
        sees.append(ENDED)
        runners.start(ON_DOWN)
        assert says(server, "shutdown")["intent"] == "stopped"
        sees.append(then)
        checked(server)
        runners.again(ON_DOWN)
        checked(server)
        assert {beat["status"] for beat in server.beats[-4:]} == {"shutdown"}
        assert asked(server) == []

    def test_doubt_alarms_but_restarts_nothing(
        self, runners: Runners, server: FakeServer, sees: list[Observation]
    ) -> None:
        sees.append(DOUBTFUL)
        runners.start(ON_DOWN)
        assert says(server, "error")["intent"] == "unknown"
        checked(server)
        assert asked(server) == []

    @pytest.mark.parametrize("before", [FORGOTTEN, RUNNING])
    def test_known_failure_is_no_doubt_later(
        self, runners: Runners, server: FakeServer, sees: list[Observation], before: Observation
    ) -> None:
        server.may_restart = (409, {"error": {"code": "restart_delay"}})
        server.retry_after = 0.05
        sees.append(FORGOTTEN)
        runners.start(ON_DOWN)
        server.wait_for(lambda: asked(server))
        sees.append(DOUBTFUL)
        begun = len(asked(server))
        server.wait_for(lambda: len(asked(server)) > begun)

    @pytest.mark.parametrize("then", [RUNNING, NEXT_RUN])
    def test_new_run_ends_the_stop(
        self, runners: Runners, server: FakeServer, sees: list[Observation], then: Observation
    ) -> None:
        sees.append(ENDED)
        runners.start(ON_DOWN)
        says(server, "shutdown")
        sees.append(then)
        says(server, "ok" if then is RUNNING else "error")
        sees.append(NEXT_RUN)
        server.wait_for(lambda: asked(server))

    def test_outage_does_not_undo_a_stop(
        self, runners: Runners, server: FakeServer, sees: list[Observation], systemctl: Scripted
    ) -> None:
        sees.append(ENDED)
        runners.start(ON_DOWN)
        says(server, "shutdown")
        server.status = 503
        sees.append(FORGOTTEN)
        begun = len(server.requests)
        server.wait_for(lambda: len(server.requests) > begun + 8)
        assert not systemctl.called("restart")


class TestCommands:
    @pytest.mark.parametrize("more", [{"agent": "database"}, {"agent": "x", "names": ["x", "y"]}])
    @pytest.mark.parametrize("action", ["restart", "stop"])
    def test_command_for_another_agent_is_refused(
        self, runners: Runners, server: FakeServer, systemctl: Scripted, action: str, more: dict[str, Any]
    ) -> None:
        server.commands.append(command(7, action, **more))
        runners.start(A)
        server.wait_for(lambda: server.results)
        assert server.results[0][1]["status"] == "rejected"
        assert "is watched for bot, not" in server.results[0][1]["message"]
        assert not systemctl.called(action)

    @pytest.mark.parametrize("more", [{}, {"agent": "bot"}, {"agent": "x", "names": ["x", "bot"]}, {"names": 5}])
    def test_command_for_its_own_agent_is_done(
        self, runners: Runners, server: FakeServer, more: dict[str, Any]
    ) -> None:
        server.commands.append(command(7, **more))
        runners.start(A)
        server.wait_for(lambda: server.results)
        assert server.results[0][1]["status"] == "completed"

    @pytest.mark.parametrize(("origin", "status"), [("watchdog", "rejected"), ("person", "completed")])
    def test_automatic_command_undoes_no_stop(
        self, runners: Runners, server: FakeServer, systemctl: Scripted, origin: str, status: str
    ) -> None:
        """Also a stop since the last check."""
        runners.start(A, interval=60.0)
        server.wait_for(1)
        systemctl.answers("show", shown("inactive"))
        server.commands.append(command(7, origin=origin))
        server.wait_for(lambda: server.results)
        assert server.results[0][1]["status"] == status or "not running" in server.results[0][1]["message"]
        assert bool(systemctl.called("restart")) is (origin == "person")

    def test_stalled_target_is_restarted_automatically(self, runners: Runners, server: FakeServer) -> None:
        runners.start(A)
        server.commands.append(command(7, origin="watchdog"))
        server.wait_for(lambda: server.results)
        assert server.results[0][1]["status"] == "completed"


class TestDockerRing:
    def test_stop_outlives_the_event_ring(
        self, runners: Runners, server: FakeServer, engine: FakeApi, bot: Target, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("clevagent.runner.watch.CONFIRM_DELAY", 0.0)
        holds(engine, Status="exited", ExitCode=137)
        engine.answers["GET", "/events"] = (200, b'{"Action":"stop"}\n')
        runners.start(replace(bot, restart_on_down=True))
        says(server, "shutdown")
        engine.answers["GET", "/events"] = (200, b"")
        checked(server)
        polled(server)
        assert server.beats[-1]["status"] == "shutdown"
        assert asked(server) == []
        assert engine.paths("POST") == []

    @pytest.mark.parametrize(("code", "oom", "doubtful"), [(137, False, True), (137, True, False), (1, False, False)])
    def test_forgotten_kill_is_doubtful(
        self, engine: FakeApi, bot: Target, code: int, oom: bool, doubtful: bool
    ) -> None:
        holds(engine, Status="exited", ExitCode=code, OOMKilled=oom)
        engine.answers["GET", "/events"] = (200, b"")
        seen = Docker().check(bot, 2)
        assert (seen.ended, seen.doubtful) == (False, doubtful)

    @pytest.mark.parametrize(
        ("stop_signal", "sent", "ended"),
        [
            (None, "9", True),
            (None, "15", True),
            ("SIGQUIT", "3", True),
            ("INT", "2", True),
            ("3", "3", True),
            (None, "1", False),
            (None, "10", False),
            ("SIGQUIT", "15", False),
        ],
    )
    def test_kill_by_a_person_is_no_crash(
        self, engine: FakeApi, bot: Target, stop_signal: str | None, sent: str, *, ended: bool
    ) -> None:
        """A signal to reload is neither."""
        holds(engine, Status="exited", ExitCode=1)
        engine.answers["GET", "/containers/bot/json"][1]["Config"]["StopSignal"] = stop_signal
        kill = {"Action": "kill", "Actor": {"Attributes": {"signal": sent}}}
        told = {"kill": json.dumps(kill).encode(), "die": b'{"Action":"die"}', "stop": b""}

        def events(asked: Any) -> tuple[int, bytes]:
            return 200, told[json.loads(asked.query["filters"])["event"][0]]

        engine.answers["GET", "/events"] = events
        assert Docker().check(bot, 2).ended is ended

    @pytest.mark.parametrize(("code", "ended"), [(0, True), (127, False)])
    def test_created_container_has_not_crashed(self, engine: FakeApi, bot: Target, code: int, *, ended: bool) -> None:
        """One that could not be started has the code of the attempt."""
        holds(engine, Status="created", ExitCode=code, StartedAt="0001-01-01T00:00:00Z")
        assert Docker().check(bot, 2).ended is ended


def times(*, started: int = 100, left: int = 200, ended: int = 300, **more: object) -> dict[str, object]:
    """What systemd tells of a unit's end, in microseconds."""
    names = ("ExecMainStart", "ActiveExit", "ExecMainExit")
    at = {f"{name}TimestampMonotonic": each for name, each in zip(names, (started, left, ended), strict=True)}
    return {
        "NotifyAccess": "none",
        "RuntimeMaxUSec": "infinity",
        "Result": "exit-code",
        "ExecMainStatus": 1,
        **at,
        **more,
    }


@pytest.mark.parametrize(
    ("properties", "ended", "doubtful"),
    [
        (times(), True, False),
        (times(NRestarts=3, Restart="always"), True, False),
        (times(Result="core-dump"), True, False),
        (times(Result="timeout"), True, False),
        (times(left=300, ended=300), False, False),
        (times(left=301, ended=300), False, False),
        # It failed while it was starting; `left` is of an earlier run.
        (times(started=250), False, False),
        (times(left=0), False, False),
        # systemd itself stopped it.
        (times(Result="watchdog"), False, False),
        (times(Result="oom-kill"), False, False),
        (times(Result="timeout", RuntimeMaxUSec="1h"), False, False),
        # It said itself that it stops, or it was told to.
        (times(NotifyAccess="main"), False, True),
        # `systemctl stop` of a running oneshot job.
        ({"Result": "signal", "ExecMainCode": 2, "ExecMainStatus": 15, "Restart": "no"}, True, False),
        ({"Result": "signal", "ExecMainCode": 2, "ExecMainStatus": 11, "Restart": "no"}, False, False),
    ],
)
def test_bad_end_on_request_is_no_crash(
    systemctl: Scripted, properties: dict[str, object], *, ended: bool, doubtful: bool
) -> None:
    """Many programs end with an error when they are asked to stop."""
    systemctl.answers("show", shown("failed", **properties))
    seen = systemd.check(parse(A), 5)
    assert (seen.ended, seen.doubtful) == (ended, doubtful)


@pytest.mark.parametrize(
    ("line", "ended", "doubtful"),
    [
        ("last exit code = 0", True, False),
        ("last exit code = 143", True, False),
        ("last exit code = (never exited)", True, False),
        ("last terminating signal = Terminated: 15", True, False),
        ("last terminating signal = Interrupt: 2", True, False),
        ("last terminating signal = Killed: 9", False, True),
        ("last terminating signal = Segmentation fault: 11", False, False),
        ("last exit code = 1", False, False),
    ],
)
def test_launchd_tells_a_stop_from_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, *, ended: bool, doubtful: bool
) -> None:
    launchctl = Scripted(tmp_path / "bin", "launchctl").on_path(monkeypatch)
    launchctl.answers("print", printed("not running", line))
    seen = launchd.check(parse(f"launchd:{JOB}"), 5)
    assert (seen.state, seen.ended, seen.doubtful) == (State.STOPPED, ended, doubtful)


@pytest.mark.parametrize(
    ("found", "ended"),
    [
        (shown("inactive"), True),
        (shown("inactive", Result="exit-code"), False),
        (shown("failed", Result="exit-code", ExecMainStatus=1, Restart="no"), False),
        (shown("failed", Result="exit-code", ExecMainStatus=1, Restart="always"), True),
        (shown("failed", Result="signal", ExecMainStatus=9, Restart="on-failure"), True),
        (shown("failed", Result="exit-code", ExecMainStatus=1, Restart="on-abort"), False),
        (shown("failed", Result="exit-code", ExecMainStatus=143, ExecMainCode=1, Restart="no"), True),
        (shown("failed", Result="signal", ExecMainStatus=11, ExecMainCode=3, Restart="no"), False),
        # The start limit: systemd gave up, nobody stopped it.
        (shown("failed", Result="exit-code", ExecMainStatus=1, Restart="always", NRestarts=5), False),
        (shown("failed", Result="start-limit-hit", Restart="always"), False),
    ],
)
def test_systemd_tells_a_stop_from_a_failure(systemctl: Scripted, found: str, ended: bool) -> None:
    systemctl.answers("show", found)
    seen = systemd.check(parse(A), 5)
    assert (seen.state, seen.ended) == (State.STOPPED, ended)


@pytest.mark.parametrize(
    ("code", "ended"),
    [(0, True), (130, True), (143, True), (-signal.SIGTERM, True), (-signal.SIGKILL, False), (1, False)],
)
def test_process_tells_a_stop_from_a_failure(code: int, ended: bool) -> None:
    target = make_target("process", "bot", options={"command": ["true"]})
    processes = Processes()
    processes._ended[str(target)] = code
    assert processes.check(target, 1).ended is ended


def test_end_unseen_by_its_runner_is_doubtful(tmp_path: Path) -> None:
    """It was started by an earlier runner, and only a parent learns how its child ended."""
    target = make_target("process", "bot", options={"command": ["sleep", "60"]})
    first, next_one = Processes(), Processes()
    first.folder = next_one.folder = tmp_path
    assert not next_one.check(target, 1).doubtful
    first.start_if_needed(target)
    assert next_one.check(target, 1).state is State.RUNNING
    first._children[str(target)].kill()
    first._children[str(target)].wait()
    assert (next_one.check(target, 1).ended, next_one.check(target, 1).doubtful) == (False, True)


def test_finished_process_is_not_started_again(runners: Runners, server: FakeServer, tmp_path: Path) -> None:
    """A new runner starts what should run, but not what has finished its work."""
    ran = tmp_path / "ran"
    backends.of("process").folder = tmp_path / "processes"  # type: ignore[attr-defined]
    job = make_target("process", "job", options={"command": ["sh", "-c", f"echo x >> {ran}; sleep 1.2"]})
    runners.start(job)
    assert says(server, "shutdown")["intent"] == "stopped"
    runners.again(job)
    checked(server)
    assert ran.read_text() == "x\n"
    assert server.beats[-1]["status"] == "shutdown"
