"""The thread that reports, so that the agent's own threads never wait for a network."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable

from clevagent.log import log
from clevagent.reporter import Reporter

# After an error of ours the thread goes on, but not in a tight loop. Seconds.
AFTER_ERROR = 5.0


class Worker:
    """Runs the reporter's steps. Started by the first thing to report, and again in a forked child."""

    def __init__(self, reporter: Reporter, clock: Callable[[], float] = time.monotonic) -> None:
        self._reporter, self._clock = reporter, clock
        self._start_lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """In a forked child: the thread did not come along, and its locks may be held for ever."""
        self._start_lock = threading.Lock()
        # Its put() may be called from a signal's handler and from the garbage collector.
        self._wakes: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._flushes: deque[threading.Event] = deque()
        self._ending = self._ended = False

    @property
    def is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def wake(self) -> None:
        """There is something to do. Cheap, and safe from any thread and any handler."""
        self._wakes.put(True)
        if self._thread is None:
            self.start()

    def start(self) -> None:
        # Not waited for: who holds it starts the thread, and a signal's handler may have interrupted just that.
        if not self._start_lock.acquire(blocking=False):
            return
        try:
            if self._thread is None and not self._ended:
                thread = threading.Thread(target=self._run, name="clevagent", daemon=True)
                thread.start()
                self._thread = thread
        except RuntimeError as error:  # the interpreter is ending, or the machine has no thread left
            log.warning("cannot start the thread that reports: %s", error)
        finally:
            self._start_lock.release()

    def flush(self, seconds: float) -> bool:
        """Report all there is now. Answers whether it was accepted within so many seconds."""
        if self._thread is None and self._reporter.is_idle:
            return True
        self.start()
        if not self.is_running:
            self._reporter.finish(self._clock(), time.time())
            return self._reporter.is_idle
        done = threading.Event()
        self._flushes.append(done)
        self.wake()
        return done.wait(seconds) and self._reporter.is_idle

    def end(self, seconds: float) -> bool:
        """Report all there is, and end the thread. Answers whether everything was accepted."""
        self._ending = True
        accepted = self.flush(seconds)
        self._ended = True
        self._wakes.put(True)
        return accepted

    def _run(self) -> None:
        pid = os.getpid()
        while not self._ended and os.getpid() == pid:
            try:
                look_at = self._reporter.step(self._clock(), time.time())
                self._finish_flushes()
            except Exception:
                log.exception("reporting failed; it goes on")
                look_at = self._clock() + AFTER_ERROR
            self._sleep(look_at - self._clock())

    def _finish_flushes(self) -> None:
        asked = [self._flushes.popleft() for _ in range(len(self._flushes))]
        if asked:
            self._reporter.finish(self._clock(), time.time())
            if self._ending:
                self._reporter.close()
        for done in asked:
            done.set()

    def _sleep(self, seconds: float) -> None:
        try:
            self._wakes.get(timeout=max(0.0, seconds)) if seconds > 0 else self._wakes.get_nowait()
            while True:  # many wakes are one
                self._wakes.get_nowait()
        except queue.Empty:
            return
