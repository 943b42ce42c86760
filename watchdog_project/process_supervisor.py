"""Supervises child processes: starts them, restarts those that die or hang, and never leaves them behind.

Independent of the product, and imports nothing heavy.
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
from typing import Protocol

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

# Seconds. A child that dies sooner has failed to start; repeated failures increase the restart delay.
MIN_UPTIME = 3.0


def die_with_parent() -> None:
    """Call in a child: the process then dies with its parent, even on `kill -9`."""
    parent = os.getppid()
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    else:
        watch_parent()


def watch_parent() -> None:
    """Call in a child: the process then dies within half a second of its parent, whichever thread started it."""
    threading.Thread(target=_die_without, args=(os.getppid(),), daemon=True).start()


def _die_without(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def restart_delay(failed_starts: int) -> float:
    """Seconds to wait before the next start after so many failed starts in a row."""
    return 0.0 if failed_starts == 0 else min(0.25 * 2.0**failed_starts, 10.0)


class Process(Protocol):
    """What a supervisor needs of a process: a part of `subprocess.Popen`."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    def poll(self) -> int | None: ...

    def send_signal(self, number: int) -> None: ...

    def wait(self, timeout: float | None = None) -> int: ...


def execute(argv: list[str], out: int, env: dict[str, str] | None = None) -> Process:
    """Start a program with output to the file descriptor `out`, in a new session that Ctrl-C does not reach."""
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=out,
        env={**os.environ, **env} if env else None,
        start_new_session=True,
        preexec_fn=die_with_parent if _libc else None,
    )


@dataclass
class Child:
    """One process. `is_healthy` returns whether it works, or None if that is unknown right now.

    It is killed and restarted once it has been unhealthy for `health_timeout` seconds. After a start, `start_timeout`
    applies until it is healthy for the first time: on a busy machine a start may take long, and a child that is killed
    each time would never come up. `before_start` gets the number of failed starts in a row. `env` is added to the
    environment. `launch` starts the process, by default as a program.
    """

    name: str
    argv: list[str]
    is_healthy: Callable[[], bool | None] | None = None
    health_timeout: float = 15.0
    start_timeout: float = 90.0
    before_start: Callable[[int], None] | None = None
    env: dict[str, str] | None = None
    launch: Callable[[list[str], int], Process] | None = None
    process: Process | None = None
    started_at: float = 0.0
    healthy_at: float = 0.0
    was_healthy: bool = False
    restart_at: float = 0.0
    failed_starts: int = 0

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process else None

    def start(self, out: int, now: float) -> None:
        """Start it with output to the file descriptor `out`."""
        if self.before_start:
            self.before_start(self.failed_starts)
        self.process = self.launch(self.argv, out) if self.launch else execute(self.argv, out, self.env)
        self.started_at = self.healthy_at = now
        self.was_healthy = False

    def hung_for(self, now: float) -> float:
        """Seconds since it was last healthy, once that exceeds its timeout; else 0."""
        timeout = self.health_timeout if self.was_healthy else max(self.health_timeout, self.start_timeout)
        unhealthy = now - self.healthy_at
        return unhealthy if self.is_healthy is not None and unhealthy > timeout else 0.0

    def send(self, number: int) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """Kill it and everything it started."""
        if self.process:
            for kill in (os.killpg, os.kill):  # a process that was just forked has no group yet
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    kill(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def wait(self, deadline: float) -> None:
        """Wait for it to exit, until `deadline` (monotonic)."""
        if self.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(max(0.0, deadline - time.monotonic()))


@dataclass
class Supervisor:
    """Keeps all children running. `report` takes lines about them, `relay` (name, line) their output, if wanted."""

    children: list[Child]
    report: Callable[[str], None]
    relay: Callable[[str, str], None] | None = None
    probe_interval: float = 2.0
    stopping: bool = False
    # SimpleQueue.put() is reentrant: a signal handler may interrupt another, and Event.set() would deadlock.
    _wake_ups: queue.SimpleQueue[bool] = field(default_factory=queue.SimpleQueue)
    _checked_at: float = 0.0

    def catch_signals(self) -> None:
        """From now on, SIGTERM, SIGINT and SIGHUP end `run`, and the death of a child is noticed immediately."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGCHLD, lambda *_: self._wake_ups.put(True))

    def _stop(self, *_: object) -> None:
        self.stopping = True
        self._wake_ups.put(True)

    def start(self, names: Iterable[str]) -> None:
        wanted = set(names)
        for child in self.children:
            if child.name in wanted:
                self._start(child, time.monotonic())

    def _start(self, child: Child, now: float) -> None:
        if self.relay is None:
            child.start(subprocess.DEVNULL, now)
            return
        reading, writing = os.pipe()
        try:
            child.start(writing, now)
        finally:
            os.close(writing)
        threading.Thread(target=_relay_output, args=(reading, child.name, self.relay), daemon=True).start()

    def run(self) -> None:
        """Supervise the children until a signal says to stop."""
        threading.Thread(target=self._probe, daemon=True).start()
        # Children started earlier have not been probed until now.
        self._reset_timeouts(time.monotonic())
        while not self.stopping:
            with contextlib.suppress(queue.Empty):
                self._wake_ups.get(timeout=0.25)
            self.check(time.monotonic())

    def check(self, now: float) -> None:
        """One round: schedule restarts of children that died or hang, and start those that are due."""
        if now - self._checked_at > 5:  # we were suspended, so the last probes are outdated
            self._reset_timeouts(now)
        self._checked_at = now
        for child in self.children:
            if not self.stopping and child.process is not None:
                self._check_child(child, child.process, now)

    def _reset_timeouts(self, now: float) -> None:
        self._checked_at = now
        for child in self.children:
            child.healthy_at = now

    def _check_child(self, child: Child, process: Process, now: float) -> None:
        if child.restart_at:
            if now >= child.restart_at:
                child.restart_at = 0.0
                self._start(child, now)
        elif process.poll() is not None:
            self._schedule_restart(child, f"{child.name} exited ({_describe_exit(process.returncode or 0)})", now)
        elif unhealthy := child.hung_for(now):
            self._schedule_restart(child, f"{child.name} has not responded for {unhealthy:.0f} s", now)

    def _schedule_restart(self, child: Child, reason: str, now: float) -> None:
        child.kill()  # including processes it started
        child.failed_starts = child.failed_starts + 1 if now - child.started_at < MIN_UPTIME else 0
        delay = restart_delay(child.failed_starts)
        child.restart_at = now + delay
        self.report(f"{reason}; restarting" + (f" in {delay:.1f} s" if child.failed_starts else ""))

    def _probe(self) -> None:
        while not self.stopping:
            for child in self.children:
                healthy = child.is_healthy() if child.is_healthy else None
                if healthy is not False:
                    child.healthy_at, child.was_healthy = time.monotonic(), child.was_healthy or healthy is True
            time.sleep(self.probe_interval)

    def stop(self, order: Iterable[tuple[Iterable[str], float]]) -> None:
        """Stop the children group by group: SIGTERM, wait for the group's timeout in seconds, then SIGKILL."""
        self.stopping = True
        for names, timeout in order:
            group = [child for child in self.children if child.name in set(names)]
            deadline = time.monotonic() + timeout
            for child in group:
                child.send(signal.SIGTERM)
            for child in group:
                child.wait(deadline)
                child.kill()


def _describe_exit(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _relay_output(reading: int, name: str, relay: Callable[[str, str], None]) -> None:
    with os.fdopen(reading, errors="replace") as lines:
        for line in lines:
            relay(name, line.rstrip("\n"))
