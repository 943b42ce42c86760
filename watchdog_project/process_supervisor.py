"""Keeping child processes alive: started together, started again when they die or hang, gone when the parent is gone.

Knows nothing of the product and imports nothing heavy.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

# A child that lived this long had started well; dying sooner, again and again, makes the pauses grow.
STARTED_WELL = 3.0


def die_with_parent() -> None:
    """Called in a child: when its parent is gone, even by `kill -9`, so is this process."""
    parent = os.getppid()
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    else:
        threading.Thread(target=_watch_parent, args=(parent,), daemon=True).start()


def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def pause_after(quick_deaths: int) -> float:
    """Seconds to wait before the next start, given how often in a row the child died soon after its start."""
    return 0.0 if quick_deaths == 0 else min(0.25 * 2.0**quick_deaths, 10.0)


@dataclass
class Child:
    """One process. `is_well` says whether it works: None means that nobody can tell now.

    It is killed and started again when `is_well` has not said so for `patience` seconds; until it was well for the
    first time after a start, for `starts_within` seconds: a busy machine may need long to start it, and a child that is
    killed each time would never come up.
    `before_start` is told how often in a row it died at once. `env` is added to the environment.
    """

    name: str
    argv: list[str]
    is_well: Callable[[], bool | None] | None = None
    patience: float = 15.0
    starts_within: float = 90.0
    before_start: Callable[[int], None] | None = None
    env: dict[str, str] | None = None
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    well_at: float = 0.0
    was_well: bool = False
    start_at: float = 0.0
    quick_deaths: int = 0

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process else None

    def start(self, out: int, now: float) -> None:
        """Start it, printing to the file descriptor `out`. Its own session keeps the terminal's Ctrl-C away."""
        if self.before_start:
            self.before_start(self.quick_deaths)
        self.process = subprocess.Popen(
            self.argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, **self.env} if self.env else None,
            start_new_session=True,
            preexec_fn=die_with_parent if _libc else None,
        )
        self.started_at = self.well_at = now
        self.was_well = False

    def has_hung(self, now: float) -> float:
        """For how many seconds it has not been well; 0 while that is not too long."""
        patience = self.patience if self.was_well else max(self.patience, self.starts_within)
        silent = now - self.well_at
        return silent if self.is_well is not None and silent > patience else 0.0

    def send(self, number: int) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """End it and whatever it started."""
        if self.process:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def is_over(self, deadline: float) -> bool:
        """Wait for its end until `deadline` (monotonic)."""
        if self.process is None:
            return True
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return False
        return True


@dataclass
class Supervisor:
    """Children that must all be running. `say` takes lines about them, `hear` lines from them, if anybody listens."""

    children: list[Child]
    say: Callable[[str], None]
    hear: Callable[[str, str], None] | None = None
    probe_every: float = 2.0
    stopping: bool = False
    # Its put() may be called by a signal's handler that interrupts another; an Event's set() would wait for itself.
    _wakes: queue.SimpleQueue[bool] = field(default_factory=queue.SimpleQueue)
    _looked_at: float = 0.0

    def catch_signals(self) -> None:
        """From here on SIGTERM and SIGINT end `run`, and the death of a child is noticed at once."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGCHLD, lambda *_: self._wakes.put(True))

    def _stop(self, *_: object) -> None:
        self.stopping = True
        self._wakes.put(True)

    def start(self, names: Iterable[str]) -> None:
        wanted = set(names)
        for child in self.children:
            if child.name in wanted:
                self._start(child, time.monotonic())

    def _start(self, child: Child, now: float) -> None:
        if self.hear is None:
            child.start(subprocess.DEVNULL, now)
            return
        reading, writing = os.pipe()
        try:
            child.start(writing, now)
        finally:
            os.close(writing)
        threading.Thread(target=_listen, args=(reading, child.name, self.hear), daemon=True).start()

    def run(self) -> None:
        """Look after the children until told to stop."""
        threading.Thread(target=self._probe, daemon=True).start()
        # Nobody has asked those that were started earlier until now, however long the rest took.
        self._excuse(time.monotonic())
        while not self.stopping:
            with contextlib.suppress(queue.Empty):
                self._wakes.get(timeout=0.25)
            self.look(time.monotonic())

    def look(self, now: float) -> None:
        """One round: whoever is dead or has not been well for too long is started again when its time has come."""
        if now - self._looked_at > 5:  # we were suspended ourselves: what we know of the others is old
            self._excuse(now)
        self._looked_at = now
        for child in self.children:
            if not self.stopping and child.process is not None:
                self._look_at(child, now)

    def _excuse(self, now: float) -> None:
        self._looked_at = now
        for child in self.children:
            child.well_at = now

    def _look_at(self, child: Child, now: float) -> None:
        process = child.process
        assert process is not None
        if child.start_at:
            if now >= child.start_at:
                child.start_at = 0.0
                self._start(child, now)
        elif process.poll() is not None:
            self._ended(child, f"{child.name} ended ({_how(process.returncode)})", now)
        elif silent := child.has_hung(now):
            self._ended(child, f"{child.name} has not answered for {silent:.0f} s", now)

    def _ended(self, child: Child, what: str, now: float) -> None:
        child.kill()  # what it started must not stay behind
        child.quick_deaths = child.quick_deaths + 1 if now - child.started_at < STARTED_WELL else 0
        child.start_at = now + pause_after(child.quick_deaths)
        self.say(f"{what}; starting it again" + (f" in {child.start_at - now:.1f} s" if child.quick_deaths else ""))

    def _probe(self) -> None:
        while not self.stopping:
            for child in self.children:
                said = child.is_well() if child.is_well else None
                if said is not False:
                    child.well_at, child.was_well = time.monotonic(), child.was_well or said is True
            time.sleep(self.probe_every)

    def stop(self, order: Iterable[tuple[Iterable[str], float]]) -> None:
        """End the children group by group: SIGTERM, at most so many seconds of waiting, then SIGKILL."""
        self.stopping = True
        for names, patience in order:
            group = [child for child in self.children if child.name in set(names)]
            deadline = time.monotonic() + patience
            for child in group:
                child.send(signal.SIGTERM)
            for child in group:
                child.is_over(deadline)
                child.kill()


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _listen(reading: int, name: str, hear: Callable[[str, str], None]) -> None:
    with os.fdopen(reading, errors="replace") as lines:
        for line in lines:
            hear(name, line.rstrip("\n"))
