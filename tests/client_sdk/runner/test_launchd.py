"""launchd jobs, with a scripted `launchctl`. Not run on macOS."""

from __future__ import annotations

from pathlib import Path

import pytest
from clevagent.runner.backends import launchd
from clevagent.runner.backends.base import State
from clevagent.runner.target import make_target, parse

from tests.client_sdk.runner.cases import BackendCases
from tests.client_sdk.runner.scripted import Scripted

JOB = "gui/501/com.example.crypto.bot"


def printed(state: str, *lines: str) -> str:
    """Format a job like `launchctl print`: its fields after one tab, nested sections after two."""
    nested = "\tspawn type = daemon (3)\n\tendpoints = {\n\t\tstate = active\n\t\tpid = 1\n\t}\n"
    return (
        f"{JOB} = {{\n\tactive count = 1\n{nested}\tstate = {state}\n"
        + "".join(f"\t{line}\n" for line in lines)
        + "}\n"
    )


class LaunchdWorld:
    backend = launchd
    target = parse(f"launchd:{JOB}")
    unknown_target = parse("launchd:gui/501/com.example.other")

    def __init__(self, launchctl: Scripted) -> None:
        self.launchctl = launchctl
        launchctl.answers("print", error="Could not find service\n", code=113, of=self.unknown_target.name)

    def runs(self) -> None:
        self.launchctl.answers("print", printed("running", "pid = 4711", "runs = 3"))

    def has_failed(self) -> None:
        self.launchctl.answers("print", printed("not running", "last exit code = 78: EX_CONFIG", "runs = 9"))

    def hangs(self) -> None:
        for verb in ("print", "kickstart"):
            self.launchctl.answers(verb, sleep=60)

    def talks_nonsense(self) -> None:
        self.launchctl.answers("print", "A new format\n\t\tstate = running\n")

    def is_gone(self) -> None:
        self.launchctl.path.unlink()

    def refuses(self) -> None:
        self.runs()
        self.launchctl.answers("kickstart", error="Could not kickstart service: Operation not permitted\n", code=150)


@pytest.fixture
def launchctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    monkeypatch.setenv("HOME", str(tmp_path))
    return Scripted(tmp_path / "bin", "launchctl").on_path(monkeypatch)


@pytest.fixture
def world(launchctl: Scripted) -> LaunchdWorld:
    return LaunchdWorld(launchctl)


@pytest.fixture
def plist(tmp_path: Path) -> Path:
    path = tmp_path / "Library/LaunchAgents/com.example.crypto.bot.plist"
    path.parent.mkdir(parents=True)
    path.write_text("<plist/>")
    return path


class TestLaunchd(BackendCases):
    bad_names = ("-k", "gui/501/-k", "gui/me/com.example", "a b")


def test_evidence_excludes_nested_sections(world: LaunchdWorld) -> None:
    world.runs()
    assert launchd.check(world.target, 5).evidence == {"state": "running", "pid": 4711, "runs": 3}


@pytest.mark.parametrize("state", ["spawn scheduled", "spawning", ""])
def test_other_states_are_unknown(world: LaunchdWorld, state: str) -> None:
    world.launchctl.answers("print", printed(state))
    assert launchd.check(world.target, 5).state is State.UNKNOWN


def test_job_that_exited_with_0_has_ended(world: LaunchdWorld) -> None:
    world.launchctl.answers("print", printed("not running", "last exit code = 0"))
    assert launchd.check(world.target, 5).ended


def test_restart_is_one_kickstart(world: LaunchdWorld) -> None:
    world.runs()
    assert launchd.restart(world.target, 5).ok
    assert world.launchctl.calls == [f"print {JOB}", f"kickstart -k {JOB}"]


def test_unloaded_job_is_loaded_for_a_restart(world: LaunchdWorld, plist: Path) -> None:
    world.launchctl.answers("print", code=113)
    seen = launchd.check(world.target, 5)
    assert (seen.state, seen.ended, seen.missing) == (State.STOPPED, True, False)
    assert launchd.restart(world.target, 5).ok
    assert world.launchctl.calls[-2:] == [f"bootstrap gui/501 {plist}", f"kickstart -k {JOB}"]


def test_stop_unloads_the_job(world: LaunchdWorld, plist: Path) -> None:
    assert launchd.stop(world.target, 5).ok
    assert world.launchctl.calls == [f"bootout {JOB}"]


def test_job_without_a_plist_is_not_unloaded(world: LaunchdWorld) -> None:
    outcome = launchd.stop(world.target, 5)
    assert not outcome.ok
    assert "plist" in outcome.message
    assert world.launchctl.calls == []


def test_plist_can_be_configured(world: LaunchdWorld, tmp_path: Path) -> None:
    path = tmp_path / "elsewhere.plist"
    path.write_text("<plist/>")
    target = make_target("launchd", JOB, options={"plist": str(path)})
    assert launchd.stop(target, 5).ok


def test_bare_label_depends_on_the_user(world: LaunchdWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 501)
    monkeypatch.setattr("os.getuid", lambda: 501)
    launchd.check(parse("launchd:com.example.bot"), 5)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    launchd.check(parse("launchd:com.example.bot"), 5)
    assert world.launchctl.calls == ["print gui/501/com.example.bot", "print system/com.example.bot"]
