"""Tells when a module has been imported, without importing it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Callable

from clevagent.log import log

Told = Callable[[ModuleType], None]


def when_imported(name: str, told: Told) -> None:
    """Call `told` with the module of this full name: now if it is imported, else right after it is.

    What `told` raises is logged and goes no further.
    """
    _finder.wanted[name] = told
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    module = sys.modules.get(name)
    if module is not None:
        _tell(told, module)


def forget() -> None:
    """Tell of no more imports."""
    _finder.wanted.clear()
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)


class _Finder(MetaPathFinder):
    """Finds nothing by itself: asks the others, and puts a listener before the loader of a wanted module."""

    def __init__(self) -> None:
        self.wanted: dict[str, Told] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        told = self.wanted.get(fullname)
        if told is None:
            return None
        spec = _found_by_others(self, fullname, path, target)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = _Listener(spec.loader, told)
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
    def __init__(self, loader: Any, told: Told) -> None:
        self._loader = loader
        self._told = told

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The module finds its own loader, as if nobody had listened.
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        _tell(self._told, module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


def _tell(told: Told, module: ModuleType) -> None:
    try:
        told(module)
    except Exception:
        log.warning("clevagent: cannot watch %s; its calls are not counted", module.__name__, exc_info=True)
