"""The logger of the package. It prints nothing by itself; a program that configures logging sees it."""

from __future__ import annotations

import logging

log = logging.getLogger("clevagent")
log.addHandler(logging.NullHandler())
_said: set[str] = set()


def once(message: str) -> None:
    """Warn of something that would otherwise be said at every call or beat."""
    if message not in _said and len(_said) < 1000:
        _said.add(message)
        log.warning(message)
