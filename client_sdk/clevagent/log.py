"""The package's logger. Silent unless the program configures logging."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings

log = logging.getLogger("clevagent")
log.addHandler(logging.NullHandler())
_said: set[str] = set()
MAX_SAID = 1000


def warn(message: str) -> None:
    """Warn the programmer, also where logging is not configured. Never raises, even where warnings are errors."""
    log.warning(message)
    with contextlib.suppress(Warning):
        warnings.warn(message, RuntimeWarning, stacklevel=_caller_level())


def _caller_level() -> int:
    """Return the stack level of the program's own line, seen from the function that called this one."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "clevagent":
        level, frame = level + 1, frame.f_back
    return level


def warn_loudly_once(message: str) -> None:
    """Warn the programmer of a mistake that only a person can fix, once instead of with every heartbeat."""
    if _is_new(message):
        warn(message)


def warn_once(message: str) -> None:
    """Log a warning that would otherwise repeat with every call or heartbeat."""
    if _is_new(message):
        log.warning(message)


def _is_new(message: str) -> bool:
    is_new = message not in _said and len(_said) < MAX_SAID
    if is_new:
        _said.add(message)
    return is_new
