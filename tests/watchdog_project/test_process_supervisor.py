"""Supervision of real, small child processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.installation import children_of, is_alive, wait_until
from watchdog_project.process_supervisor import Child, Supervisor, restart_delay

pytestmark = [pytest.mark.sqlite, pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")]
SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
STORM = """
import os, signal, sys, time
end = time.monotonic() + 0.5
while time.monotonic() < end:
    os.kill(int(sys.argv[1]), signal.SIGCHLD)
os.kill(int(sys.argv[1]), signal.SIGTERM)
"""
SLOW_TO_END = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, lambda *_: None); print('up', flush=True); time.sleep(600)",
]


class Supervised:
    """A supervisor running in a thread, its reports and the output of its children."""

    def __init__(self, *children: Child) -> None:
        self.reports: list[str] = []
        self.output: list[tuple[str, str]] = []
        self.supervisor = Supervisor(list(children), self.reports.append, self.relay, probe_interval=0.1)
        self.supervisor.start(child.name for child in children)
        self.thread = threading.Thread(target=self.supervisor.run)
        self.thread.start()

    def relay(self, name: str, line: str) -> None:
        self.output.append((name, line))

    def end(self) -> None:
        self.supervisor.stopping = True
        self.thread.join()
        self.supervisor.stop([([child.name for child in self.supervisor.children], 3)])


@pytest.fixture
def supervise() -> Iterator[object]:
    started: list[Supervised] = []

    def start(*children: Child) -> Supervised:
        started.append(Supervised(*children))
        return started[-1]

    yield start
    for supervised in started:
        supervised.end()


def test_restart_delay_grows_to_a_maximum() -> None:
    delays = [restart_delay(failures) for failures in range(12)]
    assert delays[:4] == [0, 0.5, 1, 2]
    assert delays == sorted(delays)
    assert delays[-1] == 10


def test_killed_child_is_restarted(supervise: type[Supervised]) -> None:
    child = Child("web", SLEEP, started_at=0)
    supervised = supervise(child)
    first = child.pid
    assert first
    child.started_at -= 60  # it had started successfully
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: child.pid != first, "restarted")
    assert supervised.reports == ["web exited (signal 9); restarting"]
    wait_until(lambda: ("web", "up") in supervised.output, "its output is relayed")


def test_failing_child_is_restarted_with_backoff(supervise: type[Supervised]) -> None:
    failed_starts: list[int] = []
    supervised = supervise(
        Child("broker", [sys.executable, "-c", "raise SystemExit(3)"], before_start=failed_starts.append)
    )
    wait_until(lambda: len(failed_starts) == 3, "three starts")
    assert failed_starts == [0, 1, 2]
    assert supervised.reports[:2] == [
        "broker exited (exit code 3); restarting in 0.5 s",
        "broker exited (exit code 3); restarting in 1.0 s",
    ]


def test_failing_child_does_not_affect_others(supervise: type[Supervised]) -> None:
    good = Child("good", SLEEP)
    supervise(Child("bad", [sys.executable, "-c", "raise SystemExit(1)"]), good)
    first = good.pid
    time.sleep(1)
    assert good.pid == first


def test_unhealthy_child_is_restarted(supervise: type[Supervised]) -> None:
    healthy = True
    child = Child("web", SLEEP, is_healthy=lambda: healthy, health_timeout=1)
    supervised = supervise(child)
    first = child.pid
    time.sleep(1.5)
    assert child.pid == first
    healthy = False
    wait_until(lambda: child.pid != first, "restarted")
    assert supervised.reports[0].startswith("web has not responded for 1 s; restarting")


def test_start_timeout_exceeds_health_timeout() -> None:
    child = Child("web", SLEEP, is_healthy=lambda: False, health_timeout=15, start_timeout=90)
    child.started_at = child.healthy_at = 1_000.0
    assert (child.hung_for(1_089), child.hung_for(1_091)) == (0, 91), "not healthy yet"
    child.was_healthy = True
    assert (child.hung_for(1_014), child.hung_for(1_016)) == (0, 16)


def test_time_before_first_probe_does_not_count() -> None:
    """Preparing the database may take longer than a child's health timeout."""
    probes: list[float] = []
    reports: list[str] = []

    def is_healthy() -> bool:
        probes.append(time.monotonic())
        return False

    child = Child("broker", SLEEP, is_healthy=is_healthy, health_timeout=15, start_timeout=15)
    supervisor = Supervisor([child], reports.append, probe_interval=0.05)
    supervisor.start(["broker"])
    child.healthy_at -= 60
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    wait_until(lambda: len(probes) > 20, "several probes")
    supervisor.stopping = True
    thread.join()
    supervisor.stop([(["broker"], 3)])
    assert reports == []


def test_unknown_health_is_no_failure(supervise: type[Supervised]) -> None:
    child = Child("worker", SLEEP, is_healthy=lambda: None, health_timeout=0.5)
    supervised = supervise(child)
    first = child.pid
    time.sleep(1.5)
    assert child.pid == first
    assert supervised.reports == []


def test_suspension_resets_timeouts() -> None:
    child = Child("web", SLEEP, is_healthy=lambda: True, health_timeout=15)
    reports: list[str] = []
    supervisor = Supervisor([child], reports.append)
    supervisor.start(["web"])
    now = time.monotonic()
    supervisor.check(now)
    supervisor.check(now + 300)
    assert reports == []
    supervisor.stop([(["web"], 3)])


def test_child_that_ignores_sigterm_is_killed() -> None:
    child = Child("worker", SLOW_TO_END)
    output: list[str] = []
    supervisor = Supervisor([child], print, lambda name, line: output.append(line))
    supervisor.start(["worker"])
    wait_until(lambda: output, "it ignores SIGTERM")
    began = time.monotonic()
    supervisor.stop([(["worker"], 0.5)])
    assert 0.4 < time.monotonic() - began < 60
    assert child.process is not None
    assert child.process.returncode == -signal.SIGKILL


def test_grandchildren_are_killed(supervise: type[Supervised], tmp_path: Path) -> None:
    with_child = "import subprocess, sys, time; subprocess.Popen(['sleep', '600']); time.sleep(600)"
    child = Child("web", [sys.executable, "-c", with_child])
    supervise(child)
    first = child.pid
    assert first
    (grandchild,) = wait_until(lambda: children_of(first), "it has a child")
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not is_alive(grandchild), "the grandchild is gone")


def test_nested_signal_handlers_do_not_deadlock() -> None:
    """If many children exit at once, one SIGCHLD interrupts the handler of another."""
    code = f"""
import os, subprocess, sys
from watchdog_project.process_supervisor import Supervisor
supervisor = Supervisor([], print)
supervisor.catch_signals()
with subprocess.Popen([sys.executable, "-c", {STORM!r}, str(os.getpid())]):
    supervisor.run()
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=90).returncode == 0


def test_children_die_with_killed_parent() -> None:
    code = f"""
import time
from watchdog_project.process_supervisor import Child, Supervisor
supervisor = Supervisor([Child("a", {SLEEP!r}), Child("b", {SLOW_TO_END!r})], print)
supervisor.start(["a", "b"])
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", code])
    children = wait_until(lambda: len(found := children_of(parent.pid)) == 2 and found, "both run")
    parent.kill()
    parent.wait()
    wait_until(lambda: not any(is_alive(pid) for pid in children), "both are gone")
