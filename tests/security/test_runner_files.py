"""What the runner leaves on its machine: private files, no followed links, and no key in what it starts."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from clevagent.runner import program
from clevagent.runner.backends.process import Processes, _child_environment
from clevagent.runner.errors import ConfigError
from clevagent.runner.private import append_private, open_private
from clevagent.runner.state import Store
from clevagent.runner.target import make_target
from clevagent.transport import exposure


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes()
    made.folder = tmp_path / "p"
    yield made
    for child in made._children.values():
        child.kill()
        child.wait()


def test_state_follows_no_link(tmp_path: Path) -> None:
    victim, state = tmp_path / "victim", tmp_path / "state/runner.json"
    victim.write_text("precious")
    state.parent.mkdir()
    state.with_name("runner.json.new").symlink_to(victim)
    with Store(state).changing() as kept:
        kept.pid = 7
    assert victim.read_text() == "precious"
    assert json.loads(state.read_text())["pid"] == 7
    assert mode(state) == 0o600


def test_lock_follows_no_link(tmp_path: Path) -> None:
    victim, state = tmp_path / "victim", tmp_path / "runner.json"
    state.with_name("runner.json.lock").symlink_to(victim)
    with pytest.raises(ConfigError):
        Store(state)
    assert not victim.exists()


def test_private_file_replaces_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    path.chmod(0o666)
    with open_private(path) as file:
        file.write("new")
    assert (path.read_text(), mode(path)) == ("new", 0o600)


def test_started_process_does_not_get_the_key(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEVAGENT_API_KEY", "cv_secret")
    monkeypatch.setenv("CLEVAGENT_API_KEY_FILE", "/etc/key")
    monkeypatch.setenv("CLEVAGENT_ENDPOINT", "https://watch.example")
    given = _child_environment()
    assert not {"CLEVAGENT_API_KEY", "CLEVAGENT_API_KEY_FILE"} & given.keys()
    assert given["CLEVAGENT_ENDPOINT"] == "https://watch.example"
    shown = tmp_path / "shown"
    command = ["sh", "-c", f"env > {shown}; sleep 30"]
    target = make_target("process", "bot", options={"command": command, "env": {"OWN": "yes"}})
    assert processes.restart(target, 10).ok
    assert "cv_secret" not in shown.read_text()
    assert "OWN=yes" in shown.read_text()
    assert [mode(file) for file in processes.folder.iterdir()] == [0o600]
    assert processes.stop(target, 10).ok


def test_logs_of_started_processes_are_private(processes: Processes, tmp_path: Path) -> None:
    log, shown = tmp_path / "bot.log", tmp_path / "shown"
    command = ["sh", "-c", f"echo secret; touch {shown}; sleep 30"]
    target = make_target("process", "bot", options={"command": command, "log": str(log)})
    assert processes.restart(target, 10).ok
    assert mode(log) == 0o600
    assert processes.stop(target, 10).ok


def test_log_follows_only_links_that_are_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim, log = tmp_path / "victim", tmp_path / "log"
    victim.write_bytes(b"precious")
    log.symlink_to(victim)
    append_private(log).close()
    monkeypatch.setattr("os.geteuid", lambda: 4711)
    monkeypatch.setattr(Path, "lstat", lambda path: type("Found", (), {"st_uid": 4712, "st_mode": 0o120777})())
    with pytest.raises(PermissionError):
        append_private(log)
    assert victim.read_bytes() == b"precious"


def test_programs_do_not_get_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEVAGENT_API_KEY", "cv_secret")
    monkeypatch.setenv("CLEVAGENT_API_KEY_FILE", "/etc/key")
    ran = program.run(["env"], 10)
    assert ran.ok
    assert "CLEVAGENT_API_KEY" not in ran.output


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        ("http://watchdog.example.com", "watchdog.example.com"),
        ("http://10.0.0.7:8000", "10.0.0.7"),
        ("http://[2001:db8::1]:8000", "2001:db8::1"),
        ("http://localhost.example.com", "localhost.example.com"),
        ("http://127.0.0.1.example.com", "127.0.0.1.example.com"),
        ("https://watchdog.example.com", ""),
        ("http://127.0.0.1:8000", ""),
        ("http://127.9.9.9:8000", ""),
        ("http://[::1]:8000", ""),
        ("http://localhost:8000", ""),
    ],
)
def test_unencrypted_endpoint_is_said(endpoint: str, host: str) -> None:
    warning = exposure(endpoint)
    assert bool(warning) is bool(host)
    assert host in warning
