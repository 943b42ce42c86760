"""`bin/run` as people use it: start, stop, restart, killed processes, and rejected starts."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.flows.installation import (
    PARTS,
    PATIENCE,
    ROOT,
    Installation,
    environment,
    free_port,
    is_alive,
    parent_of,
    slowdown,
    wait_until,
)
from watchdog_project import addresses

pytestmark = [pytest.mark.live, pytest.mark.sqlite, pytest.mark.xdist_group("bin_run")]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installation = Installation(tmp_path_factory.mktemp("run") / "data")
    try:
        yield installation.start()
    finally:
        installation.stop()


@pytest.fixture(scope="module")
def key(running: Installation) -> str:
    return running.key


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path / "data", "--quiet")
    try:
        yield installation.start()
    finally:
        installation.stop(signal.SIGKILL)


def stored(installation: Installation) -> set[str]:
    with sqlite3.connect(f"file:{installation.folder / 'watchdog.sqlite3'}?mode=ro", uri=True) as database:
        found = {row[0] for row in database.execute("SELECT beat_id FROM agents_heartbeat")}
    database.close()
    return found


def test_first_start_prints_url_and_sign_in_link(running: Installation) -> None:
    assert running.url == f"http://127.0.0.1:{running.port}"
    assert running.sign_in_url.startswith(running.url)
    assert running.key.startswith("cv_")
    assert running.get("/healthz")[0] == 200
    assert running.get("/readyz") == (200, {"database": "ok", "broker": "ok", "detector": "ok"})
    assert running.request(urllib.request.Request(running.sign_in_url))[0] == 200


def test_data_folder_is_private(running: Installation) -> None:
    for path in running.folder.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


def test_heartbeat_is_accepted(running: Installation, key: str) -> None:
    status, answer = running.beat(key, agent="first", beat_id="first-1")
    assert (status, answer.get("status")) == (200, "ok"), answer
    assert "first-1" in stored(running)


def post(running: Installation, key: str, body: bytes | Iterator[bytes]) -> int:
    """POST a raw heartbeat; an iterator is sent in chunks, without a length."""
    line = http.client.HTTPConnection("127.0.0.1", running.port, timeout=PATIENCE)
    try:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # rejected before all of it was sent
            line.request("POST", "/api/v1/heartbeat", body, {"X-API-Key": key, "Content-Type": "application/json"})
        return line.getresponse().status
    finally:
        line.close()


def test_chunked_body_is_read(running: Installation, key: str) -> None:
    chunks = [b'{"agent": "chunky", "status": "ok", ', b'"beat_id": "chunk', b'ed-1"}']
    assert post(running, key, iter(chunks)) == 200
    assert "chunked-1" in stored(running)


def test_oversized_body_is_rejected(running: Installation, key: str) -> None:
    large = b'{"agent": "chunky", "status": "ok", "message": "' + b"x" * 10_000_000 + b'"}'
    assert post(running, key, large) == 413
    assert post(running, key, (large[at : at + 65536] for at in range(0, len(large), 65536))) == 413
    assert post(running, key, iter([b""])) == 400


def test_pip_installs_sdk_from_the_server(running: Installation, tmp_path: Path) -> None:
    index = [f"--index-url={running.url}/simple/", "--no-cache-dir", "--disable-pip-version-check"]
    argv = [sys.executable, "-m", "pip", "--isolated", "install", *index, f"--target={tmp_path}", "clevagent"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "clevagent" / "py.typed").is_file()
    assert (tmp_path / "bin" / "clevagent-runner").is_file()


@pytest.mark.parametrize("part", PARTS)
def test_killed_part_restarts_without_data_loss(running: Installation, key: str, part: str) -> None:
    before = running.pid(part)
    assert before
    assert running.beat(key, agent="first", beat_id=f"before-{part}")[0] == 200
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: running.pid(part) not in (None, before), f"{part} is back")
    wait_until(running.is_ready, f"ready again after {part} was killed")
    assert running.says(f"{part} exited (signal 9); restarting")
    assert running.beat(key, agent="first", beat_id=f"after-{part}")[0] == 200
    assert {f"before-{part}", f"after-{part}"} <= stored(running)


def test_killed_fork_server_is_replaced(running: Installation, key: str) -> None:
    before = running.pid("web")
    assert before
    os.kill(parent_of(before), signal.SIGKILL)
    wait_until(lambda: running.pid("web") not in (None, before), "web is back")
    wait_until(running.is_ready, "ready again")
    assert running.beat(key, agent="first", beat_id="after-fork-server")[0] == 200


def test_detector_survives_broker_kill(running: Installation) -> None:
    broker = running.pid("broker")
    assert broker
    os.kill(broker, signal.SIGKILL)
    wait_until(lambda: running.pid("broker") not in (None, broker), "the broker is back")
    for _ in range(3):
        wait_until(partial(detector_ran_since, running, detector_at(running)), "the detector runs on")


def detector_ran_since(installation: Installation, at: str) -> bool:
    return detector_at(installation) > at


def detector_at(installation: Installation) -> str:
    with sqlite3.connect(f"file:{installation.folder / 'watchdog.sqlite3'}?mode=ro", uri=True) as database:
        at: str = database.execute("SELECT at FROM agents_pulse WHERE name = 'detector'").fetchone()[0]
    database.close()
    return at


def test_hung_web_process_is_restarted(running: Installation) -> None:
    hung = running.pid("web")
    assert hung
    worker = next(pid for pid in running.pids() if pid != hung and parent_of(pid) == hung)
    os.kill(worker, signal.SIGSTOP)
    wait_until(lambda: running.pid("web") not in (None, hung), "web is started again")
    wait_until(running.is_ready, "ready")
    assert running.says("web has not responded for 15 s; restarting")
    assert not is_alive(worker)


def test_second_start_on_same_folder_is_rejected(running: Installation) -> None:
    code, out = refused(running.folder)
    assert code == 2
    assert out == f"ClevAgent Watchdog is already running on {running.folder} (process {running.process.pid})."
    assert running.is_ready()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_ends_all_and_next_start_keeps_data(other: Installation, number: int) -> None:
    key = other.key
    other.beat(key, agent="kept", beat_id="kept-1")
    everything = other.pids()
    assert len(everything) >= 4
    assert other.stop(number) < 10 * slowdown()
    assert other.process.returncode == 0
    wait_until(lambda: not any(is_alive(pid) for pid in everything), "all parts are gone")
    other.start()
    assert "API key" not in other.found("(?s).*").split("Create API keys")[0]
    assert other.beat(key, agent="kept", beat_id="kept-2")[0] == 200
    other.stop()
    assert {"kept-1", "kept-2"} <= stored(other)


def test_no_part_outlives_its_killed_parent(other: Installation) -> None:
    everything = other.pids()
    other.stop(signal.SIGKILL)
    wait_until(lambda: not any(is_alive(pid) for pid in everything), "all parts are gone")
    other.start()
    wait_until(other.is_ready, "it is ready again")


def test_quiet_start_prints_four_lines(other: Installation) -> None:
    assert len(other.lines) == 4


def refused(folder: Path, *options: str, **env: str) -> tuple[int, str]:
    argv = ["bin/run", "--port", str(free_port()), "--data-dir", str(folder), *options]
    done = subprocess.run(
        argv,
        cwd=ROOT,
        env=environment(**env),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
    )
    return done.returncode, done.stdout.strip()


def one_sentence(text: str) -> bool:
    return "\n" not in text and text.endswith((".", "?")) and "Traceback" not in text


def test_port_in_use_is_rejected(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, out = refused(tmp_path, "--port", str(port))
    assert code == 2
    assert out == f"Port {port} on 127.0.0.1 is in use by another program. Choose another with --port."


def test_unsafe_production_start_is_rejected(tmp_path: Path) -> None:
    """Before the database is used: nothing listens there."""
    environment = {"DATABASE_URL": "postgres://nobody@127.0.0.1:1/none", "SECRET_KEY": "short"}
    code, out = refused(tmp_path, **environment)
    assert code == 2
    assert one_sentence(out)
    assert "SECRET_KEY is too weak" in out


@pytest.mark.parametrize("port", ["0", "70000", "-1", "http"])
def test_invalid_port_is_rejected(tmp_path: Path, port: str) -> None:
    code, out = refused(tmp_path, f"--port={port}")
    assert code == 2
    assert one_sentence(out)
    assert f"{port} is not a port" in out


def test_unknown_option_is_rejected(tmp_path: Path) -> None:
    code, out = refused(tmp_path, "--prot", "1")
    assert code == 2
    assert one_sentence(out)
    assert "--prot" in out


def test_foreign_host_is_rejected(tmp_path: Path) -> None:
    code, out = refused(tmp_path, "--host", "203.0.113.7")
    assert code == 2
    assert one_sentence(out)
    assert "203.0.113.7" in out


def test_other_devices_reach_a_public_host(tmp_path: Path) -> None:
    """The address that it prints, under which any other device would ask."""
    installation = Installation(tmp_path / "data", "--quiet", "--host", "0.0.0.0")
    try:
        installation.start()
        own = next((name for name in addresses.hosts("0.0.0.0") if name[0].isdigit()), None)
        if own is None:
            pytest.skip("this machine has no other address")
        for host in (own, "127.0.0.1"):
            asked = urllib.request.Request(f"http://{host}:{installation.port}/")
            assert installation.request(asked)[0] == 200, host
        assert installation.says(f"is running at http://{own}:{installation.port}")
        unknown = urllib.request.Request(f"http://{own}:{installation.port}/", headers={"Host": "evil.example"})
        assert installation.request(unknown)[0] == 400
    finally:
        installation.stop(signal.SIGKILL)


def test_unwritable_folder_is_rejected(tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.touch()
    for folder in (taken, taken / "below"):
        code, out = refused(folder)
        assert code == 2
        assert one_sentence(out)
        assert f"Cannot write to the data directory {folder}" in out


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=80m", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_start_on_full_disk_is_rejected(small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(bytes(60 * 1024 * 1024))
    code, out = refused(small_disk / "data")
    assert code == 2
    assert one_sentence(out)
    assert "is full" in out


def test_read_only_disk_is_rejected(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    code, out = refused(small_disk)
    assert code == 2
    assert one_sentence(out)
    assert "Read-only" in out


def fill(path: Path) -> None:
    """Write until the disk is full."""
    subprocess.run(["dd", "if=/dev/zero", f"of={path}", "bs=4k"], capture_output=True)


def test_full_disk_loses_no_acknowledged_heartbeat(small_disk: Path) -> None:
    installation = Installation(small_disk / "data", "--quiet").start()
    try:
        key, filler = installation.key, small_disk / "filler"
        assert installation.beat(key, agent="a", beat_id="before")[0] == 200
        fill(filler)
        answers = {
            f"full-{n}": installation.beat(key, agent="a", beat_id=f"full-{n}", message="x" * 9000)[0]
            for n in range(40)
        }
        assert set(answers.values()) & {500, 503, 507}
        filler.unlink()
        wait_until(lambda: installation.beat(key, agent="a", beat_id="after")[0] == 200, "beats are taken again")
        acknowledged = {name for name, status in answers.items() if status == 200}
        assert {"before", "after"} | acknowledged <= stored(installation)
    finally:
        installation.stop()


def test_old_python_is_rejected(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "bin", tmp_path / "bin")
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "dirname").symlink_to(shutil.which("dirname") or "")
    old = tools / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "bin/run"], cwd=tmp_path, env={"PATH": str(tools)}, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 2
    assert one_sentence(done.stderr.strip())
    assert "Python 3.11 or newer" in done.stderr
    assert not (tmp_path / ".venv").exists()
