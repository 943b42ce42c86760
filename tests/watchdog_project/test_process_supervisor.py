"""Children are kept alive: real processes, small ones."""

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
from watchdog_project.process_supervisor import Child, Supervisor, pause_after

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


class Kept:
    """A supervisor at work in a thread, and what it said and heard."""

    def __init__(self, *children: Child) -> None:
        self.said: list[str] = []
        self.heard: list[tuple[str, str]] = []
        self.supervisor = Supervisor(list(children), self.said.append, self.hear, probe_every=0.1)
        self.supervisor.start(child.name for child in children)
        self.thread = threading.Thread(target=self.supervisor.run)
        self.thread.start()

    def hear(self, name: str, line: str) -> None:
        self.heard.append((name, line))

    def end(self) -> None:
        self.supervisor.stopping = True
        self.thread.join()
        self.supervisor.stop([([child.name for child in self.supervisor.children], 3)])


@pytest.fixture
def keep() -> Iterator[object]:
    kept: list[Kept] = []

    def start(*children: Child) -> Kept:
        kept.append(Kept(*children))
        return kept[-1]

    yield start
    for one in kept:
        one.end()


def test_pauses_grow_to_a_ceiling() -> None:
    pauses = [pause_after(deaths) for deaths in range(12)]
    assert pauses[:4] == [0, 0.5, 1, 2]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 10


def test_a_killed_child_is_started_again_within_a_second(keep: type[Kept]) -> None:
    child = Child("web", SLEEP, started_at=0)
    kept = keep(child)
    first = child.pid
    assert first
    child.started_at -= 60  # it had started well
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: child.pid != first, "started again")
    assert kept.said == ["web ended (signal 9); starting it again"]
    wait_until(lambda: ("web", "up") in kept.heard, "what it prints is heard")


def test_a_child_that_dies_at_once_is_tried_more_and_more_slowly(keep: type[Kept]) -> None:
    told: list[int] = []
    kept = keep(Child("broker", [sys.executable, "-c", "raise SystemExit(3)"], before_start=told.append))
    wait_until(lambda: len(told) >= 3, "three starts")
    assert told[:3] == [0, 1, 2]
    assert kept.said[:2] == [
        "broker ended (exit code 3); starting it again in 0.5 s",
        "broker ended (exit code 3); starting it again in 1.0 s",
    ]


def test_one_that_keeps_dying_does_not_disturb_the_others(keep: type[Kept]) -> None:
    good = Child("good", SLEEP)
    keep(Child("bad", [sys.executable, "-c", "raise SystemExit(1)"]), good)
    first = good.pid
    time.sleep(1)
    assert good.pid == first


def test_a_child_that_is_not_well_is_started_again(keep: type[Kept]) -> None:
    well = True
    child = Child("web", SLEEP, is_well=lambda: well, patience=1)
    kept = keep(child)
    first = child.pid
    time.sleep(1.5)
    assert child.pid == first
    well = False
    wait_until(lambda: child.pid != first, "started again")
    assert kept.said[0].startswith("web has not answered for 1 s; starting it again")


def test_a_child_has_longer_to_start_than_to_answer() -> None:
    child = Child("web", SLEEP, is_well=lambda: False, patience=15, starts_within=90)
    child.started_at = child.well_at = 1_000.0
    assert (child.has_hung(1_089), child.has_hung(1_091)) == (0, 91), "not well yet"
    child.was_well = True
    assert (child.has_hung(1_014), child.has_hung(1_016)) == (0, 16)


def test_nobody_is_blamed_for_the_time_before_they_were_asked() -> None:
    """As when preparing the database took longer than a child's patience."""
    asked: list[float] = []
    said: list[str] = []

    def is_well() -> bool:
        asked.append(time.monotonic())
        return False

    child = Child("broker", SLEEP, is_well=is_well, patience=15, starts_within=15)
    supervisor = Supervisor([child], said.append, probe_every=0.05)
    supervisor.start(["broker"])
    child.well_at -= 60
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    wait_until(lambda: len(asked) > 20, "looked at it several times")
    supervisor.stopping = True
    thread.join()
    supervisor.stop([(["broker"], 3)])
    assert said == []


def test_nobody_is_killed_for_what_cannot_be_told(keep: type[Kept]) -> None:
    child = Child("worker", SLEEP, is_well=lambda: None, patience=0.5)
    kept = keep(child)
    first = child.pid
    time.sleep(1.5)
    assert child.pid == first
    assert kept.said == []


def test_after_a_suspension_of_our_own_nobody_is_blamed() -> None:
    child = Child("web", SLEEP, is_well=lambda: True, patience=15)
    said: list[str] = []
    supervisor = Supervisor([child], said.append)
    supervisor.start(["web"])
    now = time.monotonic()
    supervisor.look(now)
    supervisor.look(now + 300)
    assert said == []
    supervisor.stop([(["web"], 3)])


def test_one_that_does_not_end_is_killed() -> None:
    child = Child("worker", SLOW_TO_END)
    heard: list[str] = []
    supervisor = Supervisor([child], print, lambda name, line: heard.append(line))
    supervisor.start(["worker"])
    wait_until(lambda: heard, "it ignores SIGTERM")
    began = time.monotonic()
    supervisor.stop([(["worker"], 0.5)])
    assert 0.4 < time.monotonic() - began < 60
    assert child.process is not None
    assert child.process.returncode == -signal.SIGKILL


def test_what_a_killed_child_had_started_goes_with_it(keep: type[Kept], tmp_path: Path) -> None:
    with_child = "import subprocess, sys, time; subprocess.Popen(['sleep', '600']); time.sleep(600)"
    child = Child("web", [sys.executable, "-c", with_child])
    keep(child)
    first = child.pid
    assert first
    (grandchild,) = wait_until(lambda: children_of(first), "it has a child")
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not is_alive(grandchild), "the grandchild is gone")


def test_it_ends_when_told_though_signals_interrupt_the_handlers_of_others() -> None:
    """As when many children end at once: the handler of one SIGCHLD meets the next."""
    code = f"""
import os, subprocess, sys
from watchdog_project.process_supervisor import Supervisor
supervisor = Supervisor([], print)
supervisor.catch_signals()
with subprocess.Popen([sys.executable, "-c", {STORM!r}, str(os.getpid())]):
    supervisor.run()
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=90).returncode == 0


def test_children_do_not_outlive_a_killed_parent() -> None:
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
