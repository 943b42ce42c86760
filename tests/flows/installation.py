"""A complete installation, started with `bin/run` on a free port."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# Seconds. Only a failing test waits this long, so it is generous: a busy machine must not fail a test.
PATIENCE = 180.0
PARTS = ("broker", "web", "worker", "beat")
# Settings of the tests' own Django, which must not reach the installation.
FOREIGN = re.compile(r"DATABASE_URL|REDIS_URL|CELERY_.*|.*DATA_DIR|SECRET_KEY|DJANGO_.*|BASE_URL|EMAIL_URL|PYTEST_.*")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not FOREIGN.fullmatch(name)}
    return {**kept, "VENV": sys.prefix, **more}


def wait_until(condition: Callable[[], Any], expected: str, seconds: float = PATIENCE) -> Any:
    """Return the condition's first true value, or fail after so many seconds."""
    end = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < end, f"not within {seconds} s: {expected}"
        time.sleep(0.05)
    return answer


def slowdown() -> float:
    """How many times slower this machine is than an idle one, at a guess: programs that want to run, per core.

    A test that asserts a promised time grants this much more on a machine that does something else beside it.
    """
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def clean_copy(folder: Path) -> Path:
    """A copy of the project as a fresh clone has it: only files under version control.

    Without git, all files except hidden files and data.
    """
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True).stdout
    if not tracked:
        unwanted = shutil.ignore_patterns(".*", "__pycache__", "var", "node_modules")
        return Path(shutil.copytree(ROOT, folder, ignore=unwanted))
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def children_of(pid: int) -> list[int]:
    """The process's running children, according to /proc."""
    children = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(after_name[1]) == pid and after_name[0] != "Z":
            children.append(int(path.parent.name))
    return children


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Installation:
    """`bin/run` of the project in `root` with a data folder. `lines` is its output so far."""

    def __init__(self, folder: Path, *options: str, port: int | None = None, root: Path = ROOT, **env: str) -> None:
        self.folder, self.options, self.root, self.env = folder, options, root, env
        self.port = port or free_port()
        self.lines: list[str] = []

    def start(self) -> Installation:
        """Start it and wait until it reports that it is running."""
        argv = ["bin/run", "--port", str(self.port), "--data-dir", str(self.folder), *self.options]
        began = time.monotonic()
        self.lines = []
        self.process = subprocess.Popen(
            argv,
            cwd=self.root,
            env=environment(**self.env),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._read, args=(self.process,), daemon=True).start()
        try:
            wait_until(lambda: self.says("Ctrl-C to stop") or self.process.poll() is not None, "it runs")
            assert self.process.poll() is None
        except AssertionError as error:
            self.stop()
            raise AssertionError("\n".join([str(error), *self.lines])) from error
        self.took = time.monotonic() - began
        return self

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        with process.stdout as lines:
            for line in lines:
                self.lines.append(line.rstrip("\n"))

    def says(self, text: str) -> str | None:
        return next((line for line in list(self.lines) if text in line), None)

    def found(self, pattern: str) -> str:
        match = re.search(pattern, "\n".join(self.lines))
        assert match, "\n".join(self.lines)
        return match.group(0)

    @property
    def url(self) -> str:
        return self.found(r"http://127\.0\.0\.1:\d+")

    @property
    def sign_in_url(self) -> str:
        return self.found(r"http://\S+/accounts/sign-in/\S+")

    @property
    def key(self) -> str:
        return self.found(r"cv_\w+")

    def pid(self, part: str) -> int | None:
        """The process id of one of PARTS; None while it is not running."""
        for child in self.pids():
            try:
                name = Path(f"/proc/{child}/comm").read_text().strip()
                command = Path(f"/proc/{child}/cmdline").read_bytes()
                parent = parent_of(child)
            except OSError:  # it has just ended
                continue
            # Granian's worker has the name of its parent.
            if name == f"watchdog-{part}" and Path(f"/proc/{parent}/comm").read_text().strip() != name:
                return child
            if part == "broker" and b"broker.sock" in command:
                return child
        return None

    def pids(self) -> list[int]:
        """All its processes except the parent."""
        found = [self.process.pid]
        for pid in found:
            found += children_of(pid)
        return found[1:]

    def get(self, path: str) -> tuple[int, Any]:
        return self.request(urllib.request.Request(f"http://127.0.0.1:{self.port}{path}"))

    def beat(self, key: str, **fields: Any) -> tuple[int, Any]:
        """POST a heartbeat; the status is 0 if there is no answer."""
        headers = {"X-API-Key": key, "Content-Type": "application/json"}
        url = f"http://127.0.0.1:{self.port}/api/v1/heartbeat"
        return self.request(urllib.request.Request(url, json.dumps({"status": "ok", **fields}).encode(), headers))

    def request(self, request: urllib.request.Request, seconds: float = 30) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:
                return answer.status, _decoded(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _decoded(error.read())
        except OSError:
            return 0, None

    def is_ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def stop(self, number: int = signal.SIGTERM) -> float:
        """Send a signal and wait until it ends; returns how many seconds that took."""
        began = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(PATIENCE)
        return time.monotonic() - began


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")
