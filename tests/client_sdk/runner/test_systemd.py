"""systemd units, with a scripted `systemctl`; tests/services has a real one."""

from __future__ import annotations

from pathlib import Path

import pytest
from clevagent.runner.backends import systemd
from clevagent.runner.backends.base import State
from clevagent.runner.target import parse

from tests.client_sdk.runner.cases import BackendCases
from tests.client_sdk.runner.scripted import Scripted, shown

UNIT = parse("systemd:research-agent.service")
REFUSAL = "Failed to restart research-agent.service: Interactive authentication required.\n"


class SystemdWorld:
    backend = systemd
    target = UNIT
    unknown_target = parse("systemd:other.service")

    def __init__(self, systemctl: Scripted) -> None:
        self.systemctl = systemctl
        unknown = shown("inactive", LoadState="not-found")
        systemctl.answers("show", unknown, of="other.service")

    def runs(self) -> None:
        self.systemctl.answers("show", shown())

    def has_failed(self) -> None:
        self.systemctl.answers("show", shown("failed", Result="watchdog", NRestarts=3, StatusText="x" * 5000))

    def hangs(self) -> None:
        for verb in ("show", "restart"):
            self.systemctl.answers(verb, sleep=60)

    def talks_nonsense(self) -> None:
        self.systemctl.answers("show", "what?\n=\nActiveState\n")

    def is_gone(self) -> None:
        self.systemctl.answers("show", error="Failed to connect to bus: No such file or directory\n", code=1)

    def refuses(self) -> None:
        self.runs()
        self.systemctl.answers("restart", error=REFUSAL, code=1)


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    return Scripted(tmp_path / "bin", "systemctl").on_path(monkeypatch)


@pytest.fixture
def world(systemctl: Scripted) -> SystemdWorld:
    return SystemdWorld(systemctl)


class TestSystemd(BackendCases):
    bad_names = ("--help", "a b.service", "agent*.service", "agent@.service", "user/--user", "../etc")


@pytest.mark.parametrize(
    ("active", "properties", "state", "why"),
    [
        ("active", {}, State.RUNNING, ""),
        ("active", {"SubState": "exited"}, State.RUNNING, ""),
        ("reloading", {}, State.RUNNING, ""),
        ("activating", {"SubState": "auto-restart"}, State.UNKNOWN, "systemd says activating (auto-restart)"),
        ("activating", {"NRestarts": 1}, State.UNKNOWN, "systemd says activating (start), restarted once"),
        ("deactivating", {"SubState": "stop"}, State.UNKNOWN, "systemd says deactivating (stop)"),
        ("maintenance", {}, State.UNKNOWN, "systemd says maintenance (success)"),
        (
            "failed",
            {"Result": "watchdog", "NRestarts": 3},
            State.STOPPED,
            "systemd says failed (watchdog), restarted 3 times",
        ),
        ("failed", {"Result": "exit-code", "ExecMainStatus": 2}, State.STOPPED, "failed (exit-code, status 2)"),
        ("inactive", {}, State.STOPPED, "stopped by someone, or finished"),
        ("inactive", {"Result": "oom-kill"}, State.STOPPED, "systemd says inactive (oom-kill)"),
    ],
)
def test_states(systemctl: Scripted, active: str, properties: dict[str, object], state: State, why: str) -> None:
    systemctl.answers("show", shown(active, **properties))
    seen = systemd.check(UNIT, 5)
    assert seen.state is state
    assert why in seen.why


def test_only_a_stopped_unit_counts_as_ended(systemctl: Scripted) -> None:
    systemctl.answers("show", shown("inactive"))
    assert systemd.check(UNIT, 5).ended
    systemctl.answers("show", shown("failed", Result="signal"))
    assert not systemd.check(UNIT, 5).ended


def test_evidence_omits_empty_properties(systemctl: Scripted) -> None:
    more = {"MainPID": 0, "ExecMainStatus": 1, "WatchdogUSec": "30s", "StatusText": "", "WatchdogTimestamp": ""}
    systemctl.answers("show", shown("failed", Result="watchdog", NRestarts=3, **more))
    assert systemd.check(UNIT, 5).evidence == {
        "ActiveState": "failed",
        "SubState": "failed",
        "Result": "watchdog",
        "NRestarts": 3,
        "ExecMainStatus": 1,
        "WatchdogUSec": "30s",
    }


def test_masked_unit_is_stopped_on_purpose(systemctl: Scripted) -> None:
    systemctl.answers("show", shown("inactive", LoadState="masked"))
    seen = systemd.check(UNIT, 5)
    assert (seen.state, seen.ended) == (State.STOPPED, True)


def test_unit_without_a_file_can_be_running(systemctl: Scripted) -> None:
    systemctl.answers("show", shown("active", LoadState="not-found"))
    assert systemd.check(UNIT, 5).state is State.RUNNING


def test_unit_name_follows_the_options(systemctl: Scripted) -> None:
    systemd.check(parse("systemd:research-agent"), 5)
    systemd.stop(parse("systemd:user/research-agent"), 5)
    assert systemctl.calls[0].endswith(" -- research-agent.service")
    assert systemctl.calls[1] == "--user --no-ask-password stop -- research-agent.service"


def test_user_manager_is_found_by_environment(systemctl: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/77")
    script = systemctl.path.read_text()
    systemctl.path.write_text(script.replace('echo "$*"', 'echo "$XDG_RUNTIME_DIR $*"'))
    systemd.check(parse("systemd:user/a.service"), 5)
    assert systemctl.calls[0].startswith("/run/user/77 --user show")


def test_restart_resets_a_failed_unit_first(systemctl: Scripted) -> None:
    systemctl.answers("show", shown("failed", Result="start-limit-hit"))
    systemd.restart(UNIT, 5)
    verbs = [verb for call in systemctl.calls for verb in call.split() if verb in ("show", "reset-failed", "restart")]
    assert verbs == ["show", "reset-failed", "restart", "show"]


def test_normal_restart_resets_nothing(systemctl: Scripted) -> None:
    systemctl.answers("show", shown())
    assert systemd.restart(UNIT, 5).ok
    assert not systemctl.called("reset-failed")


def test_restart_fails_if_the_unit_stays_down(systemctl: Scripted) -> None:
    systemctl.answers("show", shown("failed", Result="exit-code"))
    outcome = systemd.restart(UNIT, 5)
    assert not outcome.ok
    assert "failed (exit-code)" in outcome.message


def test_polkit_refusal_names_the_rule_to_add(systemctl: Scripted) -> None:
    systemctl.answers("stop", error="Failed to stop a.service: Access denied\n", code=4)
    outcome = systemd.stop(UNIT, 5)
    assert not outcome.ok
    assert "polkit" in outcome.message
    assert "docs/runner.md" in outcome.message


def test_missing_user_manager_explains_the_fix(systemctl: Scripted) -> None:
    systemctl.answers("show", error="Failed to connect to bus: No medium found\n", code=1)
    assert "XDG_RUNTIME_DIR" in systemd.check(parse("systemd:user/a.service"), 5).why


def test_missing_systemctl_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    seen = systemd.check(UNIT, 5)
    assert seen.state is State.UNKNOWN
    assert "could not be started" in seen.why


def test_root_and_the_unit_owner_may_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert systemd.missing_permission(UNIT, 5) == ""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert systemd.missing_permission(parse("systemd:user/a.service"), 5) == ""


def test_other_users_are_checked_with_polkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    pkcheck = Scripted(tmp_path / "bin", "pkcheck").on_path(monkeypatch)
    assert systemd.missing_permission(UNIT, 5) == ""
    assert "--detail unit research-agent.service --detail verb restart" in pkcheck.calls[0]
    pkcheck.path.write_text("#!/bin/sh\nexit 1\n")
    assert "polkit does not let user 1000" in systemd.missing_permission(UNIT, 5)
