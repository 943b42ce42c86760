"""Real services in separate namespaces: they do not touch this machine's services, and leave nothing behind.

A keeper process starts the service in a separate cgroup and waits for its input to end, which happens at the end of the
test and also when the test process is killed. Then it kills the cgroup and removes everything it created.
"""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

INSIDE = "umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup"
UNSHARE = ["unshare", "--mount", "--cgroup", "--propagation", "private"]
# Seconds a service may take to start, and its processes to be gone once they are killed, on a busy machine.
STARTS_WITHIN, PATIENCE = 180.0, 60.0


def cgroups() -> Path | None:
    """The mount point of cgroups version 2."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, folder, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(folder)
    return None


def why_not(*programs: str) -> str:
    """Why services cannot run here; "" if they can."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "needs root on Linux, for namespaces"
    missing = [program for program in ("unshare", *programs) if not shutil.which(program)]
    if missing:
        return f"needs {', '.join(missing)}"
    if not _can_end_a_cgroup():
        return "needs to make cgroups of version 2, on Linux 5.14 or newer"
    tried = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True)
    return f"may not make namespaces: {tried.stderr.strip()}" if tried.returncode else ""


def _can_end_a_cgroup() -> bool:
    root = cgroups()
    if root is None:
        return False
    trial = root / f"clevagent-test-may-{os.getpid()}"
    try:
        trial.mkdir()
        can = (trial / "cgroup.kill").exists()
        trial.rmdir()
    except OSError:
        return False
    return can


@contextmanager
def service(name: str, script: Callable[[Path], str], ready: Callable[[Path], bool]) -> Iterator[Path]:
    """Run a shell script as root in separate namespaces until the block ends; yields its folder once it is `ready`.

    `script` gets that folder, whose path is short because a socket's may have 107 bytes. The script sees only its own
    cgroups, and its mounts are invisible outside. Its output is in the file `log`.
    """
    root = cgroups()
    assert root is not None
    folder = Path(tempfile.mkdtemp(prefix="cv", dir="/tmp"))
    group = root / f"clevagent-test-{name}-{os.getpid()}"
    group.mkdir()
    argv = [sys.executable, __file__, str(group), str(folder), script(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True, start_new_session=True) as keeper:
        try:
            _wait(lambda: ready(folder), keeper)
            yield folder
        finally:
            assert keeper.stdin
            keeper.stdin.close()
            keeper.wait(PATIENCE + 5)


def _wait(ready: Callable[[], bool], keeper: subprocess.Popen[str]) -> None:
    end = time.monotonic() + STARTS_WITHIN
    while not ready():
        assert keeper.stdout
        assert keeper.poll() is None, f"the service ended: {keeper.stdout.read()}"
        assert time.monotonic() < end, f"not ready after {STARTS_WITHIN} s"
        time.sleep(0.05)


def keep(group: Path, folder: Path, script: str) -> None:
    """Run the script in the cgroup until standard input ends, then clean up. Print its log if it ends early."""
    inside = f"{INSIDE}\n{script}"
    join = f"echo 0 > {group}/cgroup.procs && exec {' '.join(UNSHARE)} sh -ec {shlex.quote(inside)}"
    try:
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(["sh", "-c", join], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while process.poll() is None and not select.select([sys.stdin], [], [], 0.1)[0]:
            pass
        if process.returncode is not None:
            print((folder / "log").read_text(errors="replace")[-2000:])
    finally:
        remove(group)
        shutil.rmtree(folder, ignore_errors=True)


def remove(group: Path) -> None:
    """Kill all processes in the cgroup, and remove it with its children."""
    (group / "cgroup.kill").write_text("1")
    end = time.monotonic() + PATIENCE
    while group.exists() and time.monotonic() < end:
        below = sorted(group.rglob("*/"), key=lambda path: len(path.parts), reverse=True)
        for path in [*below, group]:
            with contextlib.suppress(OSError):  # while its last process is ending
                path.rmdir()
        time.sleep(0.02)


def required(*programs: str) -> None:
    """Skip the test, with the reason, if services cannot run here."""
    if reason := why_not(*programs):
        pytest.skip(reason)


if __name__ == "__main__":
    keep(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
