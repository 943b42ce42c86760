"""Interrupts the program from another thread, like Ctrl-C: KeyboardInterrupt in its main thread."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

from clevagent.log import log

# How often, and after how many seconds, to repeat a signal that the main thread did not notice.
MAX_REPEATS = 10
REPEAT_DELAY = 0.1

# Keeps alive what CPython may still call.
_kept: list[Any] = []


def stop_program(why: str, force_after: float | None) -> None:
    """Interrupt the program like Ctrl-C, so that `finally` blocks run.

    With `force_after` (seconds), kill the process if it is still running by then.
    """
    log.error("stopping the program: %s", why)
    if force_after is not None:
        timer = threading.Timer(force_after, os._exit, (1,))
        timer.daemon = True
        timer.start()
    main = threading.main_thread()
    if main.ident is None:
        return
    if signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, signal.SIG_DFL, None):
        # A shell's background job ignores SIGINT, so raise the exception directly.
        import ctypes

        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(main.ident), ctypes.py_object(KeyboardInterrupt))
    elif hasattr(signal, "pthread_kill"):
        _interrupt(main.ident)
    else:
        signal.raise_signal(signal.SIGINT)


def _interrupt(ident: int) -> None:
    """A signal interrupts a sleep, unless it arrives just before: then CPython only notes it and sleeps on."""
    before, looked = _position(ident), _signal_check()
    signal.pthread_kill(ident, signal.SIGINT)
    if looked is not None and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        threading.Thread(target=_repeat, args=(ident, before, looked), daemon=True).start()


def _repeat(ident: int, before: tuple[FrameType | None, int], looked: threading.Event) -> None:
    """Repeat the signal while the main thread has not moved. The default handler always raises, so a thread that
    noticed the signal is elsewhere by now, or has run its pending calls. Custom handlers get no repeat: many treat a
    second SIGINT as an order to hurry.
    """
    for _ in range(MAX_REPEATS):
        if looked.wait(REPEAT_DELAY) or _position(ident) != before:
            return
        signal.pthread_kill(ident, signal.SIGINT)


def _position(ident: int) -> tuple[FrameType | None, int]:
    """Return what a thread is executing: the frame, a new object for every call, and the instruction in it."""
    frame = sys._current_frames().get(ident)
    return frame, frame.f_lasti if frame else 0


def _signal_check() -> threading.Event | None:
    """Return an event set once the main thread runs pending calls, before which it checks for signals. None: not
    CPython.
    """
    event = threading.Event()

    def called(_: Any) -> int:
        event.set()
        return 0

    try:
        import ctypes

        call = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(called)
        _kept.append(call)
        added = ctypes.pythonapi.Py_AddPendingCall(call, None) == 0
    except (ImportError, AttributeError):
        return None
    return event if added else None
