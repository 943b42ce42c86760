"""Ending the program from another thread, as Ctrl-C does: KeyboardInterrupt in its main thread."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

from clevagent.log import log

# A signal that comes just before a sleep or a wait begins does not end it: CPython only looks again when that is over.
# So it is sent again, so often and so far apart in seconds, until the main thread has looked.
AGAIN_MOST = 40
AGAIN_AFTER = 0.05

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
        signal.pthread_kill(main.ident, signal.SIGINT)  # a real signal ends a sleep, too
        threading.Thread(target=_until_noticed, args=(main.ident,), daemon=True).start()
    else:
        signal.raise_signal(signal.SIGINT)


def _until_noticed(ident: int) -> None:
    """Until the main thread has looked, the same signal again changes nothing: it is noted once."""
    noticed = _noticed()
    for _ in range(AGAIN_MOST):
        if noticed is None or noticed.wait(AGAIN_AFTER):
            return
        signal.pthread_kill(ident, signal.SIGINT)


def _noticed() -> threading.Event | None:
    """Set as soon as the main thread looks for signals, which is when it makes pending calls; None: not to be known."""
    event = threading.Event()

    def looked(_: Any) -> int:
        event.set()
        return 0

    try:
        import ctypes

        call = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(looked)
        _kept.append(call)
        added = ctypes.pythonapi.Py_AddPendingCall(call, None) == 0
    except (ImportError, AttributeError):  # not CPython, or without ctypes
        return None
    return event if added else None
