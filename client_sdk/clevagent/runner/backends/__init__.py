"""The kinds of target, in the order of the docs. A new one: one file, one name here, one heading, one test."""

from __future__ import annotations

from typing import Dict, Tuple

from ..errors import Wrong
from .base import Backend

ALL: Tuple[Backend, ...] = ()
BY_KIND: Dict[str, Backend] = {backend.KIND: backend for backend in ALL}


def of(kind: str) -> Backend:
    """The backend of a type. Raises Wrong with the types there are."""
    if kind not in BY_KIND:
        raise Wrong(f"{kind}: is no known type of target; write one of {', '.join(BY_KIND)} before the colon")
    return BY_KIND[kind]
