"""The kinds of target, in the order of the docs. A new one: one file, one name here, one heading, one test."""

from __future__ import annotations

from ..errors import Wrong
from . import systemd
from .base import Backend

ALL: tuple[Backend, ...] = (systemd,)
BY_KIND: dict[str, Backend] = {backend.KIND: backend for backend in ALL}


def of(kind: str) -> Backend:
    """The backend of a type. Raises Wrong with the types there are."""
    if kind not in BY_KIND:
        raise Wrong(f"{kind}: is no known type of target; write one of {', '.join(BY_KIND)} before the colon")
    return BY_KIND[kind]
