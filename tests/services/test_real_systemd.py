"""The runner's systemd backend and its journal probe against a real manager and a real journal."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from clevagent.runner import probes
from clevagent.runner.backends import systemd
from clevagent.runner.backends.base import Observation, State
from clevagent.runner.target import Target, make_target

from tests.flows.installation import wait_until
from tests.services.systemd import UserManager

pytestmark = [pytest.mark.live, pytest.mark.sqlite, pytest.mark.xdist_group("systemd")]


@pytest.fixture
def unit(manager: UserManager, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A name for a unit, which is gone after the test."""
    for name, value in manager.env.items():
        monkeypatch.setenv(name, value)
    chosen = f"bot-{uuid.uuid4().hex[:8]}.service"
    yield chosen
    manager.remove(chosen)


def target(unit: str) -> Target:
    return make_target("systemd", f"user/{unit}")


def seen(unit: str, state: State) -> Observation:
    """What the backend sees, once that is `state`."""
    wait_until(lambda: systemd.check(target(unit), 5).state is state, f"{unit} is {state}")
    return systemd.check(target(unit), 5)


def test_running_unit(manager: UserManager, unit: str) -> None:
    manager.start(unit, ExecStart="/bin/sleep 1000")
    found = seen(unit, State.RUNNING)
    assert (found.evidence["ActiveState"], found.evidence["NRestarts"]) == ("active", 0)


def test_failed_unit_shows_its_exit_status(manager: UserManager, unit: str) -> None:
    manager.start(unit, ExecStart="/bin/sh -c 'exit 3'")
    found = seen(unit, State.STOPPED)
    assert (found.evidence["Result"], found.evidence["ExecMainStatus"], found.ended) == ("exit-code", 3, False)
    assert "status 3" in found.why


def test_stopped_unit_has_ended(manager: UserManager, unit: str) -> None:
    manager.start(unit, ExecStart="/bin/sleep 1000")
    manager.systemctl("stop", unit)
    assert seen(unit, State.STOPPED).ended


def test_unit_stopped_with_an_error_has_ended(manager: UserManager, unit: str) -> None:
    """Many programs exit with 1 on SIGTERM. Of its own accord, that is a failure."""
    leaves = 'trap "exit 1" TERM; touch %t/ready; while :; do sleep 0.1; test -e %t/leave && exit 1; done'
    manager.start(unit, ExecStart=f"/bin/sh -c '{leaves}'")
    wait_until((manager.folder / "run/ready").exists, "it hears SIGTERM")
    manager.systemctl("stop", unit)
    found = seen(unit, State.STOPPED)
    assert (found.evidence["ActiveState"], found.evidence["Result"], found.ended) == ("failed", "exit-code", True)
    manager.systemctl("start", unit)
    (manager.folder / "run/leave").touch()
    found = seen(unit, State.STOPPED)
    assert (found.evidence["Result"], found.ended, found.doubtful) == ("exit-code", False, False)
    (manager.folder / "run/leave").unlink()


def test_stopped_oneshot_job_has_ended(manager: UserManager, unit: str) -> None:
    """systemd considers SIGTERM a failure of a job."""
    manager.add(unit, Type="oneshot", ExecStart="/bin/sleep 1000")
    manager.systemctl("start", "--no-block", unit)
    wait_until(lambda: manager.show(unit, "ActiveState") == "activating", "it runs")
    manager.systemctl("stop", unit)
    assert seen(unit, State.STOPPED).ended


def test_unit_awaiting_auto_restart_is_unknown(manager: UserManager, unit: str) -> None:
    manager.start(unit, ExecStart="/bin/sh -c 'exit 3'", Restart="always", RestartSec="1000")
    assert "auto-restart" in seen(unit, State.UNKNOWN).why


def test_unit_at_start_limit_can_be_restarted(manager: UserManager, unit: str) -> None:
    limit = {"Restart": "always", "RestartSec": "0", "Unit_StartLimitBurst": "2", "Unit_StartLimitIntervalSec": "1000"}
    manager.add(unit, ExecStart="/bin/sh -c 'test -e %t/cured && exec sleep 1000; exit 3'", **limit)
    manager.systemctl("start", unit)
    wait_until(lambda: manager.show(unit, "ActiveState") == "failed", "the limit is reached")
    (manager.folder / "run/cured").touch()
    done = systemd.restart(target(unit), 20)
    assert done.ok, done.message
    assert seen(unit, State.RUNNING)
    (manager.folder / "run/cured").unlink()


def test_restart_and_stop(manager: UserManager, unit: str) -> None:
    manager.start(unit, ExecStart="/bin/sleep 1000")
    before = systemd.check(target(unit), 5).evidence["MainPID"]
    assert systemd.restart(target(unit), 20).ok
    assert seen(unit, State.RUNNING).evidence["MainPID"] != before
    assert systemd.stop(target(unit), 20).ok
    assert seen(unit, State.STOPPED).ended


def test_restart_that_fails_at_once_is_reported(manager: UserManager, unit: str) -> None:
    # With Type=simple systemd calls it started before it has found the program.
    manager.add(unit, Type="exec", ExecStart="/no/such/program")
    done = systemd.restart(target(unit), 20)
    assert not done.ok
    assert unit in done.message


def test_unknown_unit_is_missing(manager: UserManager, unit: str) -> None:
    found = systemd.check(target(unit), 5)
    assert (found.state, found.missing) == (State.UNKNOWN, True)


def test_slow_stop_times_out(manager: UserManager, unit: str) -> None:
    deaf = "trap : TERM; touch %t/deaf; while :; do sleep 0.1; done"
    manager.start(unit, ExecStart=f"/bin/sh -c '{deaf}'", TimeoutStopSec="3")
    wait_until((manager.folder / "run/deaf").exists, "it does not hear SIGTERM any more")
    done = systemd.stop(target(unit), 0.5)
    assert (done.ok, "did not answer within 0.5 s" in done.message) == (False, True)
    assert systemd.check(target(unit), 5).state is State.UNKNOWN


@pytest.fixture
def journalctl(manager: UserManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real one, which sees the units' journal."""
    program = tmp_path / "journalctl"
    program.write_text(f'#!/bin/sh\nexec {" ".join(manager.inside)} {shutil.which("journalctl")} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)


def test_journal_output_is_progress(manager: UserManager, unit: str, journalctl: None) -> None:
    manager.start(unit, ExecStart="/bin/sh -c 'while :; do echo a step; sleep 0.1; done'")
    probe = probes.make({"journal": unit}, target(unit))
    wait_until(lambda: probe.look(0)[0], "it moves")
    manager.systemctl("kill", "--signal=STOP", unit)
    wait_until(lambda: probe.look(0)[0] is False, "it stands still")
    assert manager.show(unit, "ActiveState") == "active"


def test_systemd_own_messages_are_no_progress(manager: UserManager, unit: str, journalctl: None) -> None:
    manager.start(unit, ExecStart="/bin/sleep 1000")
    probe = probes.make({"journal": unit}, target(unit))
    assert probe.look(0) == (None, {"probe": f"journal {unit}", "probe_value": "no entry"})
    manager.systemctl("restart", unit)
    wait_until(lambda: any("Started" in line for line in manager.journal(f"USER_UNIT={unit}")), "systemd said so")
    assert probe.look(0)[0] is False
