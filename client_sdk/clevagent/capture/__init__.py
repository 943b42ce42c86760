"""Counts the tokens of model calls without any change to the program.

Calls, answers and streams remain the SDK's own objects; their usage is read as they pass.
"""

from __future__ import annotations

import functools
import threading
from types import ModuleType
from typing import Any, Callable

from clevagent.capture import anthropic, gate, google_genai, imports, litellm, openai, streams
from clevagent.capture.patch import Change

SOURCES = (openai, anthropic, google_genai, litellm)
_lock = threading.Lock()
_changes: list[tuple[str, Change]] = []
_installed = False


def install() -> None:
    """Watch the SDKs that are already imported, and others once they are imported. Imports none itself.

    A second call does nothing.
    """
    global _installed
    with _lock:
        if _installed:
            return
        _installed = True
    for source in SOURCES:
        imports.when_imported(source.MODULE, functools.partial(_apply, source.changes))
    imports.when_imported(gate.GOOGLE_MODULE, functools.partial(_apply, gate.google))


def uninstall() -> None:
    """Restore the SDKs' functions, except where someone else has replaced them since."""
    global _installed
    imports.forget()
    with _lock:
        _installed = False
        for _, change in reversed(_changes):
            change.undo()
        _changes.clear()
    settle(everything=True)


def settle(everything: bool = False) -> None:
    """Count streams that ended without a final usage; with `everything`, open streams too."""
    streams.settle(everything)


def watches(sdk: str) -> bool:
    """Whether calls of this SDK are counted automatically; `sdk` is its package, such as "openai" or "google.genai"."""
    with _lock:
        return any(f"{name}.".startswith(f"{sdk}.") for name, _ in _changes)


def _apply(changes_to: Callable[[Any], list[Change]], module: ModuleType) -> None:
    with _lock:
        if _installed:
            _changes.extend((module.__name__, change) for change in changes_to(module) if change.apply())
