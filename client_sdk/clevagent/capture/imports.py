"""Calls back when a module is imported, without importing it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Callable

from clevagent.log import log

Callback = Callable[[ModuleType], None]


def when_imported(name: str, callback: Callback) -> None:
    """Call `callback` with the module: now if it is already imported, otherwise right after its import.

    Exceptions from `callback` are logged.
    """
    _finder.wanted[name] = callback
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    module = sys.modules.get(name)
    if module is not None:
        _call(callback, module)


def forget() -> None:
    """Remove all callbacks."""
    _finder.wanted.clear()
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)


class _Finder(MetaPathFinder):
    """Finds modules through the other finders, and wraps the loader of watched modules."""

    def __init__(self) -> None:
        self.wanted: dict[str, Callback] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        callback = self.wanted.get(fullname)
        if callback is None:
            return None
        spec = _found_by_others(self, fullname, path, target)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = _Listener(spec.loader, callback)
        return spec


_finder = _Finder()


def _found_by_others(
    mine: MetaPathFinder, fullname: str, path: Sequence[str] | None, target: ModuleType | None
) -> ModuleSpec | None:
    for finder in list(sys.meta_path):
        find_spec = None if finder is mine else getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = find_spec(fullname, path, target) if find_spec else None
        if spec is not None:
            return spec
    return None


class _Listener(Loader):
    def __init__(self, loader: Any, callback: Callback) -> None:
        self._loader = loader
        self._callback = callback

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        # Restore the loader, so the module looks unwatched.
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        _call(self._callback, module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


def _call(callback: Callback, module: ModuleType) -> None:
    try:
        callback(module)
    except Exception:
        log.warning("clevagent: cannot watch %s; its calls are not counted", module.__name__, exc_info=True)
