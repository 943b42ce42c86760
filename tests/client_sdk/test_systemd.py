"""systemd hears about progress, never from a timer."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from clevagent import systemd
from clevagent.testing import FakeServer

from tests.client_sdk.conftest import Program

pytestmark = pytest.mark.live


class Manager:
    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(0.1)

    def heard(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self.socket.recv(4096).decode())
            except TimeoutError:
                return found


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    found = Manager(str(tmp_path / "notify"))
    yield found
    found.socket.close()


def run(program: Program, tmp_path: Path, code: str, **env: str) -> str:
    ended = program.run(code, env={"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000", **env})
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def test_systemd_hears_ready_progress_and_stopping(program: Program, tmp_path: Path, manager: Manager) -> None:
    run(
        program,
        tmp_path,
        "import clevagent; clevagent.init(); clevagent.ping(message='page\\n7'); clevagent.shutdown()",
    )
    assert manager.heard() == ["READY=1", "STATUS=page 7\nWATCHDOG=1", "STOPPING=1"]


def test_heartbeats_do_not_feed_the_watchdog(
    program: Program, tmp_path: Path, manager: Manager, server: FakeServer
) -> None:
    code = "import time, clevagent; clevagent.init(interval=1); clevagent.ping(); time.sleep(2.5)"
    run(program, tmp_path, code)
    assert len(server.beats) >= 3
    assert [text for text in manager.heard() if "WATCHDOG" in text] == ["WATCHDOG=1"]


def test_busy_agent_notifies_at_intervals(program: Program, tmp_path: Path, manager: Manager) -> None:
    code = """
        import time, clevagent
        clevagent.init()
        start = time.monotonic()
        while time.monotonic() < start + 1:
            clevagent.ping()
        print(time.monotonic() - start)
    """
    seconds = float(run(program, tmp_path, code))
    told = [text for text in manager.heard() if "WATCHDOG" in text]
    assert 5 <= len(told) <= 1 + seconds / 0.1  # every 0.1 s with a limit of 0.4 s


def test_forked_child_does_not_notify_systemd(program: Program, tmp_path: Path, manager: Manager) -> None:
    code = """
        import os, clevagent
        clevagent.init()
        if os.fork() == 0:
            clevagent.ping(); clevagent.flush(); os._exit(0)
        os.wait()
    """
    run(program, tmp_path, code)
    assert not [text for text in manager.heard() if "WATCHDOG" in text]


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"), [("30000000", "", 30.0), ("30000000", "1", None), ("", "", None), ("x", "", None)]
)
def test_watchdog_limit_is_per_process(
    monkeypatch: pytest.MonkeyPatch, usec: str, pid: str, seconds: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", pid)
    assert systemd.watchdog_seconds() == seconds


def test_abstract_socket_is_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    manager = Manager("\0clevagent-test-notify")
    monkeypatch.setenv("NOTIFY_SOCKET", "@clevagent-test-notify")
    assert systemd.notify(READY=1, STATUS="two\nlines")
    assert manager.heard() == ["READY=1\nSTATUS=two lines"]
    manager.socket.close()


@pytest.mark.parametrize("address", ["", "/nowhere/notify", "vsock:2:1"])
def test_nothing_happens_without_systemd(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert systemd.notify(READY=1) is False
