"""Starts the application's processes by forking one that has loaded it: a start costs 20 ms instead of 1.5 s of CPU
time, and the processes share its memory. Linux only: macOS's system libraries do not survive a fork.

The standard library's fork server does the work. It dies with the process that uses it, and the forked processes die
with it (`die_with_parent`).
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
from multiprocessing.connection import Connection
from typing import Final

from watchdog_project.process_supervisor import die_with_parent

AVAILABLE: Final = sys.platform == "linux"
_PR_SET_NAME: Final = 15
# The fork server itself leaves stopping to the supervisor, even when a service manager signals all processes at once.
_IGNORED: Final = (signal.SIGTERM, signal.SIGHUP)


class ForkedProcess:
    """What the supervisor uses of `subprocess.Popen`."""

    def __init__(self, argv: list[str], out: int) -> None:
        output = Connection(os.dup(out) if out >= 0 else os.open(os.devnull, os.O_WRONLY), readable=False)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__ + "_preload"])
        self.argv = argv
        self._process = context.Process(target=_run, args=(argv, output))
        self._process.start()
        self.pid = self._process.pid or 0
        output.close()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self.argv, timeout or 0)
        return self._process.exitcode


def _run(argv: list[str], output: Connection) -> None:
    """In the forked process: a session and a name of its own, output to `output`, then the part that `argv` names."""
    os.setsid()
    die_with_parent()
    for number in _IGNORED:
        signal.signal(number, signal.SIG_DFL)
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    output.close()
    ctypes.CDLL(None).prctl(_PR_SET_NAME, f"watchdog-{argv[0]}".encode(), 0, 0, 0)
    # Granian forks its worker in the default context, which is ours here otherwise.
    multiprocessing.set_start_method("fork", force=True)
    from watchdog_project import processes

    processes.main(argv)


def leave_stopping_to_supervisor() -> None:
    """Called in the fork server. The forked processes hold the pipe by which it would notice its parent's end."""
    die_with_parent()
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
