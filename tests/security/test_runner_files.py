"""What the runner leaves on its machine: private files, no followed links, and no key in what it starts."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from clevagent.runner.backends.process import Processes, _child_environment
from clevagent.runner.errors import ConfigError
from clevagent.runner.private import open_private
from clevagent.runner.state import Store
from clevagent.runner.target import make_target


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


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


def test_started_process_does_not_get_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEVAGENT_API_KEY", "cv_secret")
    monkeypatch.setenv("CLEVAGENT_API_KEY_FILE", "/etc/key")
    monkeypatch.setenv("CLEVAGENT_ENDPOINT", "https://watch.example")
    given = _child_environment()
    assert not {"CLEVAGENT_API_KEY", "CLEVAGENT_API_KEY_FILE"} & given.keys()
    assert given["CLEVAGENT_ENDPOINT"] == "https://watch.example"
    processes = Processes()
    processes.folder = tmp_path / "p"
    shown = tmp_path / "shown"
    command = ["sh", "-c", f"env > {shown}; sleep 30"]
    target = make_target("process", "bot", options={"command": command, "env": {"OWN": "yes"}})
    assert processes.restart(target, 10).ok
    assert "cv_secret" not in shown.read_text()
    assert "OWN=yes" in shown.read_text()
    assert [mode(file) for file in processes.folder.iterdir()] == [0o600]
    assert processes.stop(target, 10).ok
