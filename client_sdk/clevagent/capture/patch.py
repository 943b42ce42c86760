"""Replaces one function of somebody else's class, and gives it back."""

from __future__ import annotations

import functools
import inspect
from typing import Any, Callable, Protocol

from clevagent.log import once

Look = Callable[[Any, dict[str, Any]], None]


class Change(Protocol):
    """Something done to an SDK. `apply` answers whether it could be done, and `undo` is called only if so."""

    def apply(self) -> bool: ...

    def undo(self) -> None: ...


class Patch:
    """`look(first argument, keyword arguments)` runs before each call of `owner.name`, and changes nothing.

    `needs` are the keywords that must be in its signature: without them the function is left alone.
    """

    def __init__(self, owner: Any, name: str, needs: set[str], look: Look) -> None:
        self.owner, self.name, self.needs = owner, name, needs
        self.look: Look | None = look
        self._before: Any = None
        self._ours: Any = None

    def apply(self) -> bool:
        """Put it in place; False, said once, where the function is not what it is known to be."""
        before = inspect.getattr_static(self.owner, self.name, None)
        if not self._fits(before):
            whose = f"{getattr(self.owner, '__module__', '')}.{getattr(self.owner, '__qualname__', self.owner)}"
            once(f"clevagent: {whose}.{self.name} is not as it was; its model calls are not counted by themselves")
            return False
        self._before, self._ours = before, self._observed(before)
        setattr(self.owner, self.name, self._ours)
        return True

    def undo(self) -> None:
        """Restore the function if it is still ours; otherwise only stop looking."""
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
        except Exception as error:
            once(f"clevagent: model calls seen by {self.name} are not all counted: {error!r}")
