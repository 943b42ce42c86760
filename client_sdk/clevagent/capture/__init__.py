"""Sees what model calls use, without a change to the program.

The calls, their answers and their streams stay the SDK's own: what they say is read in passing.
"""

from __future__ import annotations

import functools
import threading
from types import ModuleType
from typing import Any, Callable

from clevagent.capture import anthropic, google_genai, imports, litellm, openai, streams
from clevagent.capture.patch import Change

SOURCES = (openai, anthropic, google_genai, litellm)
_lock = threading.Lock()
_changes: list[tuple[str, Change]] = []
_installed = False


def install() -> None:
    """Watch the SDKs that are imported now and those that will be; this imports none.

    A second call does nothing.
    """
    global _installed
    with _lock:
        if _installed:
            return
        _installed = True
    for source in SOURCES:
        imports.when_imported(source.MODULE, functools.partial(_apply, source.changes))


def uninstall() -> None:
    """Give the SDKs their own functions back, except where somebody else has replaced them since."""
    global _installed
    imports.forget()
    with _lock:
        _installed = False
        for _, change in reversed(_changes):
            change.undo()
        _changes.clear()
    settle(everything=True)


def settle(everything: bool = False) -> None:
    """Count streams that ended without saying their sums, by what they had said; `everything`: open ones too."""
    streams.settle(everything)


def watches(sdk: str) -> bool:
    """Whether calls of this SDK are counted by themselves; `sdk` is its package, e.g. "openai", "google.genai"."""
    with _lock:
        return any(f"{name}.".startswith(f"{sdk}.") for name, _ in _changes)


def _apply(changes_to: Callable[[Any], list[Change]], module: ModuleType) -> None:
    with _lock:
        if _installed:
            _changes.extend((module.__name__, change) for change in changes_to(module) if change.apply())
