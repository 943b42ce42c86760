"""Heartbeats on disk until they are accepted, so that a restart of the agent loses no spend.

One file a process, of JSON lines: `PATH.INSTANCE`. A process holds a lock on its own; one that is not locked was left
by a process that ended, and its heartbeats are sent by the next one that starts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from clevagent.log import log, once
from clevagent.outbox import Sealed
from clevagent.transport import encode

try:
    import fcntl
except ImportError:  # not on Windows: there a file belongs to whoever finds it first
    fcntl = None  # type: ignore[assignment]

# Rewritten when so many lines are no longer needed.
MAX_STALE = 500


class Spool:
    """Kept by the sending thread only. What cannot be written is said once; the heartbeat is sent all the same."""

    def __init__(self, path: str | os.PathLike[str], instance: str) -> None:
        self._base = path = Path(path)
        self.path = path.with_name(f"{path.name}.{instance}")
        self._file: int | None = None
        self._stale = 0

    def adopt(self) -> list[dict[str, Any]]:
        """The heartbeats that ended processes left, oldest first; their files are gone when ours holds them."""
        left: list[dict[str, Any]] = []
        found = []
        for path in sorted(self._base.parent.glob(f"{self._base.name}.*")):
            if path != self.path and (file := _locked(path)) is not None:
                left += _read(path)
                found.append((path, file))
        for beat in left:
            self.keep(beat)
        for path, file in found:
            if not left or self._file is not None:
                path.unlink(missing_ok=True)
            os.close(file)
        return sorted(left, key=lambda beat: str(beat.get("sent_at", "")))

    def keep(self, fields: dict[str, Any]) -> None:
        """Add a heartbeat."""
        try:
            if self._file is None:
                self._file = _opened(self.path)
            os.write(self._file, encode(fields) + b"\n")
        except (OSError, ValueError) as error:
            once(f"clevagent: the spool {self.path} cannot be written ({error})")

    def done(self, waiting: Iterable[Sealed]) -> None:
        """Some were accepted: from time to time only what still waits is kept."""
        left = list(waiting)
        self._stale += 1
        if self._file is None or (left and self._stale < MAX_STALE):
            return
        try:
            self._file = self._rewritten(self._file, left)
            self._stale = 0
        except OSError as error:
            once(f"clevagent: the spool {self.path} cannot be written ({error})")

    def _rewritten(self, file: int, left: list[Sealed]) -> int:
        if not left:
            os.truncate(file, 0)
            return file
        # The new file is locked before it takes the old one's place, so nobody adopts it in between.
        new = self.path.with_name(self.path.name + "~")
        fresh = _opened(new)
        os.write(fresh, b"".join(encode(beat.fields) + b"\n" for beat in left))
        new.replace(self.path)
        os.close(file)
        return fresh

    def close(self, waiting: Iterable[Sealed]) -> None:
        """The process ends: leave a file only when something still waits."""
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

    def forget(self, instance: str) -> None:
        """In a forked child: the file is the parent's."""
        if self._file is not None:
            # Closing the descriptor here leaves the parent's lock: it was shared, not taken again.
            os.close(self._file)
        self.__init__(self._base, instance)  # type: ignore[misc]


def _opened(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    # What an agent says may be private: the file is its owner's only.
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    _lock(file)
    return file


def _lock(file: int) -> None:
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _locked(path: Path) -> int | None:
    """The file, when no living process holds it."""
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
    """The whole lines; one that a sudden end cut short is no heartbeat that was promised."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return []
    found = [_line(line) for line in lines]
    return [beat for beat in found if beat and beat.get("beat_id")]


def _line(line: bytes) -> dict[str, Any] | None:
    try:
        beat = json.loads(line)
    except ValueError:
        return None
    return beat if isinstance(beat, dict) else None
