"""The supported target types, in the order of docs/runner.md. CONTRIBUTING.md lists what a new one needs."""

from __future__ import annotations

from pathlib import Path

from ..errors import ConfigError
from . import docker, kubernetes, launchd, process, systemd
from .base import Backend, Starter

ALL: tuple[Backend, ...] = (systemd, docker.BACKEND, launchd, process.BACKEND, kubernetes.BACKEND)
BY_KIND: dict[str, Backend] = {backend.KIND: backend for backend in ALL}


def of(kind: str) -> Backend:
    """Return the backend for a type. Raises ConfigError with the known types."""
    if kind not in BY_KIND:
        raise ConfigError(f"{kind}: is not a target type; use one of {', '.join(BY_KIND)} before the colon")
    return BY_KIND[kind]


def set_state_folder(folder: Path) -> None:
    """Set the folder in which backends keep track of processes they started."""
    for backend in ALL:
        if isinstance(backend, Starter):
            backend.folder = folder
