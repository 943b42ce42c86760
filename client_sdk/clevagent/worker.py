"""The background thread that sends heartbeats, so the agent's own threads never wait for the network."""

from __future__ import annotations

import _thread
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable

from clevagent.log import log
from clevagent.reporter import Reporter

# Seconds to wait after an unexpected error, so the thread does not spin.
ERROR_DELAY = 5.0


class Worker:
    """Runs the reporter's steps. The first report starts it; a forked child starts it again."""

    def __init__(self, reporter: Reporter, clock: Callable[[], float] = time.monotonic) -> None:
        self._reporter, self._clock = reporter, clock
        self.reset()

    def reset(self) -> None:
        """Start over in a forked child: the thread was not copied, and copied locks may never be released."""
        self._start_lock = threading.Lock()
        # Only one thread at a time may use the reporter.
        self._reporter_lock = threading.Lock()
        # Signal handlers and the garbage collector may call its put().
        self._wakes: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._flushes: deque[threading.Event] = deque()
        self._ending = self._ended = False

    @property
    def is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def wake(self) -> None:
        """Signal new work. Cheap, and safe in any thread and any signal handler."""
        self._wakes.put(True)
        if self._thread is None:
            self.start()

    def start(self) -> None:
        """Start the thread unless it is already running or starting."""
        # Never block here: a signal handler may have interrupted the lock's owner on this very thread.
        if not self._start_lock.acquire(blocking=False):
            return
        try:
            if self._thread is None and not self._ended:
                thread = threading.Thread(target=self._run, name="clevagent", daemon=True)
                thread.start()
                self._thread = thread
        except RuntimeError as error:  # the interpreter is shutting down, or the thread limit is reached
            log.warning("cannot start the reporting thread: %s", error)
        finally:
            self._start_lock.release()

    def flush(self, seconds: float) -> bool:
        """Send everything now. Return whether the server accepted it within `seconds`."""
        if self._thread is None and self._reporter.is_idle:
            return True
        done = threading.Event()
        self._flushes.append(done)
        self.wake()
        if not self.is_running:
            self._flush_without_thread(seconds)
        return done.wait(seconds) and self._reporter.confirm()

    def end(self, seconds: float) -> bool:
        """Send everything and end the thread. Return whether the server accepted it within `seconds`."""
        self._ending = True
        accepted = self.flush(seconds)
        self._ended = True
        self._wakes.put(True)
        return accepted

    def _flush_without_thread(self, seconds: float) -> None:
        """Send from a temporary thread.

        A signal handler can interrupt start() before or after the thread exists, and cannot tell which. The temporary
        thread works in both cases, and the caller's wait stays bounded. `threading.Thread` would take locks that the
        interrupted code may hold.
        """
        try:
            _thread.start_new_thread(self._try_to_serve_flushes, (seconds,))
        except RuntimeError:  # at interpreter shutdown no thread can start, so the caller has to send
            self._try_to_serve_flushes(seconds, max_request=seconds)

    def _try_to_serve_flushes(self, seconds: float, max_request: float | None = None) -> None:
        if not self._reporter_lock.acquire(timeout=seconds):
            return
        try:
            if max_request is not None:
                self._reporter.limit_requests(max_request)
            self._serve_flushes()
        except Exception:
            log.exception("reporting failed")
        finally:
            self._reporter_lock.release()

    def _run(self) -> None:
        pid = os.getpid()
        while not self._ended and os.getpid() == pid:
            try:
                with self._reporter_lock:
                    next_step = self._reporter.step(self._clock(), time.time())
                    self._serve_flushes()
            except Exception:
                log.exception("reporting failed; retrying")
                next_step = self._clock() + ERROR_DELAY
            self._sleep(next_step - self._clock())

    def _serve_flushes(self) -> None:
        waiting = [self._flushes.popleft() for _ in range(len(self._flushes))]
        if waiting:
            self._reporter.finish(self._clock(), time.time(), is_last=self._ending)
            if self._ending:
                self._reporter.close()
        for done in waiting:
            done.set()

    def _sleep(self, seconds: float) -> None:
        try:
            self._wakes.get(timeout=max(0.0, seconds)) if seconds > 0 else self._wakes.get_nowait()
            while True:  # collapse queued wakes into one
                self._wakes.get_nowait()
        except queue.Empty:
            return
