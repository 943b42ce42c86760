"""The package's logger. Silent unless the program configures logging."""

from __future__ import annotations

import logging

log = logging.getLogger("clevagent")
log.addHandler(logging.NullHandler())
_said: set[str] = set()


def warn_once(message: str) -> None:
    """Log a warning that would otherwise repeat with every call or heartbeat."""
    if message not in _said and len(_said) < 1000:
        _said.add(message)
        log.warning(message)
