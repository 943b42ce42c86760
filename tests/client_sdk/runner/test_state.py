"""The state file, which survives the runner."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from clevagent.runner import state
from clevagent.runner.errors import ConfigError
from clevagent.runner.state import CommandRecord, Store

NOW = time.time()


def test_state_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "folder/runner.json"
    store = Store(path)
    memory = store.target("systemd:a.service")
    with store.changing() as kept:
        memory.held_at, memory.restarts, memory.evidence = NOW, [NOW - 1], {"NRestarts": 3}
        kept.commands["7"] = CommandRecord(7, "restart", "systemd", "a.service", NOW, "completed", "done")
    store.close()
    again = Store(path)
    assert again.target("systemd:a.service") == memory
    assert again.kept.commands["7"].message == "done"
    assert again.kept.pid == os.getpid()
    again.close()


def test_observations_are_written_on_flush(tmp_path: Path) -> None:
    path = tmp_path / "runner.json"
    store = Store(path)
    with store.changing(durable=False):
        store.target("a").agent = "noted"
    assert "noted" not in path.read_text()
    store.flush()
    assert "noted" in path.read_text()
    store.close()


def test_file_is_private_to_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "folder/runner.json"
    Store(path).close()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"targets": {}}', '{"targets": [], "orders": {}}', '{"targets": {"a": 1}, "orders": {}}',
     '{"targets": {}, "orders": {"7": {"id": 7}}}', '{"targets": {"a": {"restarts": "x"}}, "orders": {}}',
     '{"targets": {"a": {"held_at": "x"}}, "orders": {}}', "\x00\x01"],
)  # fmt: skip
def test_damaged_file_is_moved_aside_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str) -> None:
    path = tmp_path / "runner.json"
    path.write_text(text)
    store = Store(path)
    assert store.kept.targets == {}
    assert (tmp_path / "runner.json.damaged").read_text() == text
    assert "is damaged" in caplog.text
    assert json.loads(path.read_text())["orders"] == {}
    store.close()


def test_unknown_fields_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "runner.json"
    path.write_text('{"targets": {"a": {"agent": "b", "mood": 1}}, "orders": {}, "moon": 1}')
    store = Store(path)
    assert store.target("a").agent == "b"
    store.close()


def test_two_runners_cannot_share_a_state_file(tmp_path: Path) -> None:
    store = Store(tmp_path / "runner.json")
    assert state.is_held(tmp_path / "runner.json")
    with pytest.raises(ConfigError, match="--name"):
        Store(tmp_path / "runner.json")
    store.close()
    assert not state.is_held(tmp_path / "runner.json")


def test_killed_runner_releases_the_state_file(tmp_path: Path) -> None:
    code = "import sys, time; from pathlib import Path; from clevagent.runner.state import Store\n"
    code += "store = Store(Path(sys.argv[1])); print('ready', flush=True); time.sleep(60)"
    path = tmp_path / "runner.json"
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, env=environment()) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert state.is_held(path)
        other.kill()
    assert not state.is_held(path)


def test_unwritable_state_file_is_a_startup_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="--state"):
        Store(tmp_path / "file/runner.json")


def test_full_disk_is_logged_and_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path / "runner.json")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(state, "_replace", full)
    with store.changing() as kept:
        kept.commands["7"] = CommandRecord(7, "restart", "systemd", "a", NOW)
    assert "No space left" in caplog.text
    assert "7" in store.kept.commands
    store.close()


def test_only_old_reported_commands_are_dropped(tmp_path: Path) -> None:
    store = Store(tmp_path / "runner.json")
    with store.changing() as kept:
        for number, done in ((1, True), (2, False)):
            kept.commands[str(number)] = CommandRecord(
                number, "stop", "systemd", "a", NOW - 3_700, "completed", "", done
            )
    assert list(store.kept.commands) == ["2"]
    store.close()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(state.__file__).parents[2])}
