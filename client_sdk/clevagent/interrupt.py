"""Ending the program from another thread, as Ctrl-C does: KeyboardInterrupt in its main thread."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

from clevagent.log import log

# So often, and so many seconds apart, a signal is sent again that the main thread slept through.
MAX_REPEATS = 10
AGAIN_AFTER = 0.1

# What CPython may still call must not be collected.
_kept: list[Any] = []


def stop_program(why: str, force_after: float | None) -> None:
    """End the program as Ctrl-C does: KeyboardInterrupt in its main thread, so that `finally` blocks run.

    With `force_after`, in seconds, it is ended hard when it is still there by then.
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
        # Started in the background of a shell Ctrl-C is ignored: raise what it would have raised.
        import ctypes

        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(main.ident), ctypes.py_object(KeyboardInterrupt))
    elif hasattr(signal, "pthread_kill"):
        _interrupt(main.ident)
    else:
        signal.raise_signal(signal.SIGINT)


def _interrupt(ident: int) -> None:
    """A real signal ends a sleep, too, unless it comes just before: CPython notes it then, and sleeps on."""
    before, looked = _place(ident), _looked()
    signal.pthread_kill(ident, signal.SIGINT)
    if looked is not None and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        threading.Thread(target=_again, args=(ident, before, looked), daemon=True).start()


def _again(ident: int, before: tuple[FrameType | None, int], looked: threading.Event) -> None:
    """Send it again to who has not looked: the default handler always raises, so nobody is where they were after that,
    unless they went on, and then the pending call was made. A program's own handler may take a second one for haste.
    """
    for _ in range(MAX_REPEATS):
        if looked.wait(AGAIN_AFTER) or _place(ident) != before:
            return
        signal.pthread_kill(ident, signal.SIGINT)


def _place(ident: int) -> tuple[FrameType | None, int]:
    """What a thread is at: a frame, which is another object for each call, and the instruction in it."""
    frame = sys._current_frames().get(ident)
    return frame, frame.f_lasti if frame else 0


def _looked() -> threading.Event | None:
    """Set as soon as the main thread makes its pending calls, before which it looks for signals; None: not CPython."""
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
