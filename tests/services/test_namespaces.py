"""Services in namespaces leave nothing behind, however the test ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows.installation import ROOT, is_alive, wait_until
from tests.services.namespaces import cgroups, required, service

pytestmark = pytest.mark.live
# A daemon with a child in a nested cgroup, which reports that it runs.
SCRIPT = """
mkdir /sys/fs/cgroup/below
(echo 0 > /sys/fs/cgroup/below/cgroup.procs; exec sleep 1000) &
echo $! > {0}/pid; echo $$ > {0}/main
exec sleep 1000
"""


@pytest.fixture(autouse=True)
def _possible() -> None:
    required()


def started(folder: Path) -> bool:
    return (folder / "main").exists()


def groups(pid: int) -> list[Path]:
    root = cgroups()
    assert root
    return list(root.glob(f"clevagent-test-trial-{pid}"))


def test_service_has_its_own_cgroups() -> None:
    with service("trial", SCRIPT.format, started) as folder:
        pids = [int((folder / name).read_text()) for name in ("pid", "main")]
        assert [is_alive(pid) for pid in pids] == [True, True]
        (group,) = groups(os.getpid())
        assert (group / "below").is_dir()
    assert [is_alive(pid) for pid in pids] == [False, False]
    assert not groups(os.getpid())
    assert not folder.exists()


def test_failing_test_leaves_nothing_behind() -> None:
    with pytest.raises(RuntimeError), service("trial", SCRIPT.format, started) as folder:
        raise RuntimeError
    assert not groups(os.getpid())
    assert not folder.exists()


@pytest.fixture
def killed_worker() -> tuple[int, Path]:
    """A process that runs a service and is killed: its id, and the service's folder."""
    code = (
        "from tests.services.test_namespaces import *\n"
        "with service('trial', SCRIPT.format, started) as folder:\n"
        "    print(folder, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as worker:
        assert worker.stdout
        folder = Path(worker.stdout.readline().strip())
        worker.send_signal(signal.SIGKILL)
    return worker.pid, folder


def test_killed_worker_leaves_nothing_behind(killed_worker: tuple[int, Path]) -> None:
    pid, folder = killed_worker
    wait_until(lambda: not folder.exists() and not groups(pid), "all is removed")
    assert not folder.exists()


def test_early_exit_is_reported_with_its_output() -> None:
    with (
        pytest.raises(AssertionError, match="cannot go on"),
        service("trial", lambda folder: "echo cannot go on; exit 3", started),
    ):
        pass
    assert not groups(os.getpid())
