"""Sees what model calls use, without a change to the program.

The calls, their answers and their streams stay the SDK's own: what they say is read in passing.
"""

from __future__ import annotations

import functools
import threading
from types import ModuleType
from typing import Any, Callable

from clevagent.capture import anthropic, google_genai, imports, litellm, openai, streams
from clevagent.capture.patch import Patch

SOURCES = (openai, anthropic, google_genai, litellm)
_lock = threading.Lock()
_patches: list[Patch] = []
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
        imports.when_imported(source.MODULE, functools.partial(_apply, source.patches))


def uninstall() -> None:
    """Give the SDKs their own functions back, except where somebody else has replaced them since."""
    global _installed
    imports.forget()
    with _lock:
        _installed = False
        for patch in reversed(_patches):
            patch.undo()
        _patches.clear()
    settle(everything=True)


def settle(everything: bool = False) -> None:
    """Count streams that ended without saying their sums, by what they had said; `everything`: open ones too."""
    streams.settle(everything)


def watches(sdk: str) -> bool:
    """Whether the model calls of this SDK are counted by themselves; `sdk` is its package's name, e.g. "openai"."""
    with _lock:
        return any(str(getattr(patch.owner, "__module__", "")).partition(".")[0] == sdk for patch in _patches)


def _apply(patches_of: Callable[[Any], list[Patch]], module: ModuleType) -> None:
    with _lock:
        if _installed:
            _patches.extend(patch for patch in patches_of(module) if patch.apply())
