"""The kinds of target, in the order of the docs. A new one: one file, one name here, one heading, one test."""

from __future__ import annotations

from pathlib import Path

from ..errors import Wrong
from . import docker, kubernetes, launchd, process, systemd
from .base import Backend, Starter

ALL: tuple[Backend, ...] = (systemd, docker.BACKEND, launchd, process.BACKEND, kubernetes.BACKEND)
BY_KIND: dict[str, Backend] = {backend.KIND: backend for backend in ALL}


def of(kind: str) -> Backend:
    """The backend of a type. Raises Wrong with the types there are."""
    if kind not in BY_KIND:
        raise Wrong(f"{kind}: is no known type of target; write one of {', '.join(BY_KIND)} before the colon")
    return BY_KIND[kind]


def keep_in(folder: Path) -> None:
    """Where backends that start targets themselves may keep what they need to know them again."""
    for backend in ALL:
        if isinstance(backend, Starter):
            backend.folder = folder
