"""Stores heartbeats on disk until the server accepts them, so a restart of the agent loses no spend.

Each process has one file of JSON lines, `PATH.INSTANCE`, and holds a lock on it. An unlocked file was left by a process
that ended; the next process to start sends its heartbeats.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from clevagent.log import log, warn_once
from clevagent.outbox import Heartbeat
from clevagent.transport import encode

try:
    import fcntl
except ImportError:  # Windows has no flock: there, the first process to find a file takes it
    fcntl = None  # type: ignore[assignment]

# Rewrite the file once it has this many obsolete lines.
MAX_STALE = 500


class Spool:
    """Used by the sending thread only. If the disk fails, it logs a warning and heartbeats are sent anyway."""

    def __init__(self, path: str | os.PathLike[str], instance: str) -> None:
        self._base = Path(path)
        self._begin(instance)

    def _begin(self, instance: str) -> None:
        self.path = self._base.with_name(f"{self._base.name}.{instance}")
        self._file: int | None = None
        self._stale = 0

    def adopt(self) -> list[dict[str, Any]]:
        """Take over the heartbeats of ended processes, oldest first. Their files are deleted once ours holds them."""
        left: list[dict[str, Any]] = []
        adopted = []
        for path in sorted(self._base.parent.glob(f"{self._base.name}.*")):
            if path != self.path and (file := _locked(path)) is not None:
                left += _read(path)
                adopted.append((path, file))
        for beat in left:
            self.keep(beat)
        for path, file in adopted:
            if not left or self._file is not None:
                path.unlink(missing_ok=True)
            os.close(file)
        return sorted(left, key=lambda beat: str(beat.get("sent_at", "")))

    def keep(self, fields: dict[str, Any]) -> None:
        """Store a heartbeat."""
        try:
            if self._file is None:
                self._file = _opened(self.path)
            os.write(self._file, encode(fields) + b"\n")
        except (OSError, ValueError) as error:
            warn_once(f"clevagent: the spool {self.path} cannot be written ({error})")

    def done(self, waiting: Iterable[Heartbeat]) -> None:
        """Called after heartbeats were accepted: now and then, rewrite the file with what is still waiting."""
        left = list(waiting)
        self._stale += 1
        if self._file is None or (left and self._stale < MAX_STALE):
            return
        try:
            self._file = self._rewritten(self._file, left)
            self._stale = 0
        except OSError as error:
            warn_once(f"clevagent: the spool {self.path} cannot be written ({error})")

    def _rewritten(self, file: int, left: list[Heartbeat]) -> int:
        if not left:
            os.truncate(file, 0)
            return file
        # Lock the new file before it replaces the old one, so no other process adopts it in between.
        new = self.path.with_name(self.path.name + "~")
        fresh = _opened(new)
        os.write(fresh, b"".join(encode(beat.fields) + b"\n" for beat in left))
        new.replace(self.path)
        os.close(file)
        return fresh

    def close(self, waiting: Iterable[Heartbeat]) -> None:
        """Close at the end of the process, leaving a file only if something is still waiting."""
        if self._file is None:
            return
        try:
            left = list(waiting)
            self._file = self._rewritten(self._file, left)
            if not left:
                self.path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("the spool %s cannot be written (%s)", self.path, error)
        os.close(self._file)
        self._file = None

    def reset_after_fork(self, instance: str) -> None:
        """Reset in a forked child: the file belongs to the parent."""
        if self._file is not None:
            # Closing the descriptor keeps the parent's lock, because both share it.
            os.close(self._file)
        self._begin(instance)


def _opened(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Reports can be private, so only the owner may read the file.
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    _lock(file)
    return file


def _lock(file: int) -> None:
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _locked(path: Path) -> int | None:
    """Open and lock the file, or return None if a living process holds it."""
    try:
        file = os.open(path, os.O_RDWR | os.O_APPEND)
    except OSError:
        return None
    try:
        _lock(file)
        return file
    except OSError:
        os.close(file)
        return None


def _read(path: Path) -> list[dict[str, Any]]:
    """Return the complete lines. A line cut short by a crash was never confirmed."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return []
    beats = [_line(line) for line in lines]
    return [beat for beat in beats if beat and beat.get("beat_id")]


def _line(line: bytes) -> dict[str, Any] | None:
    try:
        beat = json.loads(line)
    except ValueError:
        return None
    return beat if isinstance(beat, dict) else None
