"""Runs a command as if nothing were around it: same input, terminal, signals and exit status. POSIX only.

Its output passes through here, byte by byte unchanged, because growth of the output is progress and its end explains a
failure. A terminal stays a terminal of the same size; a pipe or a file stays one that is not.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pty
import resource
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Sequence
from typing import Any

CHUNK = 65_536
# Bytes of output that are kept.
KEPT = 64 * 1024
# Seconds between two reads of short outputs: each read wakes us, whether it brings one line or ten. On a terminal,
# somebody may be typing.
PAUSE, TERMINAL_PAUSE = 0.04, 0.01
# Bytes. A longer read may mean that the command fills its pipe, and would wait for us.
SHORT = 1_024
# Reads after the command's end, of what it left in a pipe (at most 1 MiB) or a terminal (64 KiB, in reads of 4 KiB).
DRAINED = 32
# More than we ever have.
MAX_DESCRIPTORS = 256
# The terminal sends these to the whole foreground group, so the command has them already.
FROM_TERMINAL = (signal.SIGINT, signal.SIGQUIT)
PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, *FROM_TERMINAL)
NOT_FOUND, NOT_EXECUTABLE = 127, 126  # as shells answer


class Tail:
    """The last bytes of the output, in the order in which they came."""

    def __init__(self) -> None:
        self.data = bytearray()

    def add(self, data: bytes) -> None:
        self.data += data
        if len(self.data) > 2 * KEPT:
            del self.data[:-KEPT]


class Stream:
    """One output of the command on its way to ours."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.is_terminal = os.isatty(target)
        self.source, self.child_end = pty.openpty() if self.is_terminal else os.pipe()
        if self.is_terminal:
            _copy_terminal(target, self.child_end)

    def resize(self) -> None:
        if self.is_terminal:
            _copy_size(self.target, self.source)

    def copy(self, seen: Callable[[bytes], None]) -> int:
        """Pass on what there is. Returns the number of bytes, 0 at its end."""
        try:
            data = os.read(self.source, CHUNK)
        except OSError as error:
            if error.errno == errno.EIO:  # a terminal whose other end was closed
                return 0
            raise
        if not data:
            return 0
        seen(data)
        try:
            written = os.write(self.target, data)
            if written < len(data):
                _write(self.target, data[written:])
        except OSError:
            return 0  # nobody reads: the command notices, as it would without us
        return len(data)


def _write(target: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]


def _copy_terminal(target: int, inner: int) -> None:
    """The same size, and no processing: the outer terminal does that."""
    _copy_size(target, inner)
    settings = termios.tcgetattr(inner)
    settings[1] &= ~termios.OPOST
    termios.tcsetattr(inner, termios.TCSANOW, settings)


def _copy_size(source: int, target: int) -> None:
    with contextlib.suppress(OSError):
        fcntl.ioctl(target, termios.TIOCSWINSZ, fcntl.ioctl(source, termios.TIOCGWINSZ, b"\0" * 8))


class Command:
    """A running command. Use it from the main thread, because it handles signals."""

    def __init__(self, arguments: Sequence[str], grown: Callable[[], None]) -> None:
        """Raises OSError when it cannot be started."""
        self.tail = Tail()
        self._grown = grown
        self._is_woken = True
        out = Stream(1)
        # Where both go to one terminal, pipe or file, they share one, or lines would change places.
        err = out if _is_same_file(1, 2) else Stream(2)
        self._pause = TERMINAL_PAUSE if out.is_terminal or err.is_terminal else PAUSE
        self._wake, wake = os.pipe()
        self._streams = {stream.source: stream for stream in ((out,) if err is out else (out, err))}
        for end in (self._wake, wake):
            os.set_blocking(end, False)
        self._previous = {number: signal.getsignal(number) for number in PASSED_ON}
        self._wakeup = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        try:
            # Descriptors beyond the first three reach it, too: ours are not inheritable.
            self._child = subprocess.Popen(list(arguments), stdout=out.child_end, stderr=err.child_end, close_fds=False)
        finally:
            for stream in self._streams.values():
                os.close(stream.child_end)
        for number, handler in self._previous.items():
            if handler != signal.SIG_IGN:  # what nohup ignores, the command ignores
                signal.signal(number, self._pass_on)
        signal.signal(signal.SIGWINCH, self._resize)

    def _pass_on(self, number: int, frame: Any) -> None:
        if number in FROM_TERMINAL and _is_in_foreground():
            return
        with contextlib.suppress(OSError):
            self._child.send_signal(number)

    def _resize(self, number: int, frame: Any) -> None:
        for stream in self._streams.values():
            stream.resize()
        # It may have had the signal before us, and have read the old size.
        with contextlib.suppress(OSError):
            self._child.send_signal(number)

    def wait(self) -> int:
        """Pass its output on until it ends. Returns its exit status, negative for a signal."""
        while not self._is_woken or self._child.poll() is None:
            if 0 < self._copy(None) < SHORT:
                select.select([self._wake], [], [], self._pause)
        self._drain()
        return self._child.returncode

    def _copy(self, timeout: float | None) -> int:
        """Returns the number of bytes."""
        ready, _, _ = select.select([*self._streams, self._wake], [], [], timeout)
        self._is_woken = self._wake in ready
        if self._is_woken:  # by a signal, perhaps of the command's end
            self._forget_wakeups()
        copied = 0
        for source in ready:
            if source == self._wake:
                continue
            count = self._streams[source].copy(self._seen)
            copied += count
            if not count:
                del self._streams[source]
                os.close(source)
        return copied

    def _seen(self, data: bytes) -> None:
        self.tail.add(data)
        self._grown()

    def _forget_wakeups(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake, CHUNK):
                pass

    def _drain(self) -> None:
        """What the command left in its pipes. Processes that it left behind may hold them open, and write for ever."""
        for _ in range(DRAINED):
            if not self._streams or not self._copy(0.0):
                return

    def leave(self) -> None:
        """Go on copying in the background for processes that outlive the command: a closed pipe would kill them."""
        if not self._streams or os.fork():
            return
        with contextlib.suppress(OSError):
            os.setsid()
        # Among the others are the connection to the server, and files whose locks would outlive us.
        used = {*range(3), self._wake, *self._streams}
        for descriptor in {*range(MAX_DESCRIPTORS)} - used:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        with contextlib.suppress(BaseException):
            while self._streams:
                self._copy(None)
        os._exit(0)


def _is_same_file(first: int, second: int) -> bool:
    try:
        return (os.isatty(first) and os.isatty(second)) or os.path.sameopenfile(first, second)
    except OSError:  # closed
        return False


def _is_in_foreground() -> bool:
    """Whether the terminal sends its signals to our process group."""
    for descriptor in (0, 1, 2):
        with contextlib.suppress(OSError):
            return os.tcgetpgrp(descriptor) == os.getpgrp()
    return False


def peak_memory_mb() -> float:
    """Of the largest process among those that ended. Linux gives kilobytes, macOS bytes."""
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return round(peak / (1024 * 1024 if sys.platform == "darwin" else 1024), 1)


def end_like(code: int) -> int:
    """Return the exit status; for a signal, end by the same one, so that whoever waits sees the same."""
    if code >= 0:
        return code
    number = -code
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the command has written its own core file
        signal.signal(number, signal.SIG_DFL)
    with contextlib.suppress(OSError):
        os.kill(os.getpid(), number)
    return 128 + number
