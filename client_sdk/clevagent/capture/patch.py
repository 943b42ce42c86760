"""Replaces a function of another package's class, and restores it."""

from __future__ import annotations

import functools
import inspect
from typing import Any, Callable, Protocol

from clevagent.log import warn_once
from clevagent.stops import Stop

Look = Callable[[Any, dict[str, Any]], None]


class Change(Protocol):
    """A change to an SDK. `apply` returns whether it succeeded; `undo` is only called if so."""

    def apply(self) -> bool: ...

    def undo(self) -> None: ...


class Patch:
    """Calls `look(first argument, keyword arguments)` before each call of `owner.name`, without changing it.

    `needs` are keywords its signature must have; otherwise the function is not patched.
    """

    problem = "its calls are not counted automatically"

    def __init__(self, owner: Any, name: str, needs: set[str], look: Look) -> None:
        self.owner, self.name, self.needs = owner, name, needs
        self.look: Look | None = look
        self._before: Any = None
        self._ours: Any = None

    def apply(self) -> bool:
        """Apply the patch. Return False, with one warning, if the function is not as expected."""
        before = inspect.getattr_static(self.owner, self.name, None)
        if not self._fits(before):
            whose = f"{getattr(self.owner, '__module__', '')}.{getattr(self.owner, '__qualname__', self.owner)}"
            warn_once(f"clevagent: {whose}.{self.name} is not as expected; {self.problem}")
            return False
        self._before, self._ours = before, self._observed(before)
        setattr(self.owner, self.name, self._ours)
        return True

    def undo(self) -> None:
        """Restore the function if it is still ours; otherwise only stop observing."""
        self.look = None
        if self.owner.__dict__.get(self.name) is self._ours:
            setattr(self.owner, self.name, self._before)

    def _fits(self, function: Any) -> bool:
        plain = getattr(function, "__func__", function)
        if self.owner.__dict__.get(self.name) is not function or not inspect.isfunction(plain):
            return False
        return self.needs <= set(inspect.signature(plain).parameters)

    def _observed(self, before: Any) -> Any:
        function = getattr(before, "__func__", before)

        @functools.wraps(function)
        def observed(owner: Any, *args: Any, **kwargs: Any) -> Any:
            self._look(owner, kwargs)
            return function(owner, *args, **kwargs)

        return classmethod(observed) if isinstance(before, classmethod) else observed

    def _look(self, owner: Any, kwargs: dict[str, Any]) -> None:
        look = self.look
        if look is None:
            return
        try:
            look(owner, kwargs)
        except Stop:
            raise  # what the program asked for
        except Exception as error:
            warn_once(f"clevagent: some model calls seen by {self.name} are not counted: {error!r}")
