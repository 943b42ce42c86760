"""Stores heartbeats on disk until the server accepts them, so that neither spend nor a goodbye is lost.

Each process has one file of JSON lines, `PATH.INSTANCE`, and holds a lock on it. An unlocked file was left by a process
that ended; another process of the same user, key and server sends its heartbeats: the next one, one that runs, or the
runner. A TypeScript process cannot lock its file, so the name says which process it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from clevagent.log import log, warn_once
from clevagent.outbox import Heartbeat, essence_of
from clevagent.transport import encode

try:
    import fcntl
except ImportError:  # Windows has no flock: there, the first process to find a file takes it
    fcntl = None  # type: ignore[assignment]

# Rewrite the file once it has this many obsolete lines.
MAX_STALE = 500
# Beyond the first size, details are left out; beyond the second, nothing is stored.
MAX_DETAILED_BYTES, MAX_BYTES = 2_000_000, 8_000_000
# Files and heartbeats to take over at once; the rest follows a minute later.
MAX_FILES, MAX_ADOPTED = 100, 2_000
# The name's end of a file whose TypeScript process may still run, and the seconds after which it surely does not.
LIVE, MAX_QUIET = ".live", 3_600.0
OFF = ("off", "none", "0", "false", "no")
_FLAGS = os.O_RDWR | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


class Place(NamedTuple):
    """Where to store. A spool that the program named stores at once; the default one only what could not be sent."""

    path: Path
    stores_at_once: bool = False


def place_of(spool: Any, api_key: str) -> Place | None:
    """Return the place for `init(spool=…)` or CLEVAGENT_SPOOL, by default a private folder of the user; None if off."""
    asked = os.environ.get("CLEVAGENT_SPOOL") if spool is None else spool
    if asked is False or (isinstance(asked, str) and asked.strip().lower() in OFF):
        return None
    if asked and isinstance(asked, (str, os.PathLike)):
        return Place(Path(asked), stores_at_once=True)
    folder = next((each for each in _folders() if _is_private(each)), None)
    return None if folder is None else Place(folder / f"unsent-{_digest(api_key)}")


def _digest(api_key: str) -> str:
    """Only who has the same key sends the file, so it arrives in the same project. It does not reveal the key."""
    return hashlib.sha256(api_key.encode()).hexdigest()[:16]


def _folders() -> Iterator[Path]:
    """The service's own folder, the user's, and one in /tmp for users without a home."""
    service = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if service:
        yield Path(service) / "clevagent"
    local = os.environ.get("XDG_STATE_HOME") or os.environ.get("LOCALAPPDATA")
    yield Path(local or os.path.expanduser("~/.local/state")) / "clevagent"  # noqa: PTH111 - never raises
    yield Path(os.environ.get("TMPDIR") or "/tmp") / f"clevagent-{_user()}"  # noqa: S108 - checked by _is_private


def _user() -> int:
    return os.geteuid() if hasattr(os, "geteuid") else 0


def _is_private(folder: Path) -> bool:
    """Whether only this user can write to the folder, which is made if need be."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = os.lstat(folder)
        is_ours = stat.S_ISDIR(found.st_mode) and (_user() == found.st_uid or not hasattr(os, "geteuid"))
        return is_ours and not found.st_mode & 0o022 and os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        return False


class Spool:
    """Used by the sending thread only. If the disk fails, it logs a warning and heartbeats are sent anyway."""

    def __init__(self, place: Place, instance: str) -> None:
        self._base, self.stores_at_once = place.path, place.stores_at_once
        self._begin(instance)

    def _begin(self, instance: str) -> None:
        self.path = self._base.with_name(f"{self._base.name}.{instance}")
        self._file: int | None = None
        self._stale = self._size = 0

    @property
    def is_open(self) -> bool:
        """Whether a file exists. The default spool has one only while something could not be sent."""
        return self._file is not None

    def adopt(
        self, is_wanted: Callable[[dict[str, Any]], bool] = lambda beat: True, most: int = MAX_FILES
    ) -> list[dict[str, Any]]:
        """Take over the heartbeats of ended processes, oldest first. Their files are deleted once ours holds them."""
        left: list[dict[str, Any]] = []
        adopted = []
        for path in sorted(self._base.parent.glob(f"{self._base.name}.*"))[:most]:
            if path != self.path and _is_abandoned(path) and (file := _locked(path)) is not None:
                left += [beat for beat in _read(path) if is_wanted(beat)]
                adopted.append((path, file))
            if len(left) > MAX_ADOPTED:
                break
        left.sort(key=lambda beat: str(beat.get("sent_at", "")))
        for beat in reversed(left):  # where there is no room for all, the newest stay
            self.keep(beat)
        for path, file in adopted:
            if not left or self._file is not None:
                path.unlink(missing_ok=True)
            os.close(file)
        return left

    def keep(self, fields: dict[str, Any]) -> None:
        """Store a heartbeat."""
        try:
            if self._file is None:
                self._file = _opened(self.path)
            line = encode(fields if self._size < MAX_DETAILED_BYTES else essence_of(fields)) + b"\n"
            if self._size + len(line) <= MAX_BYTES:
                self._size += os.write(self._file, line)
        except (OSError, ValueError) as error:
            self._failed(error)

    def keep_all(self, waiting: Iterable[Heartbeat]) -> None:
        """Store what could not be sent, unless it is stored already."""
        if self._file is None:
            for beat in list(waiting):
                self.keep(beat.fields)

    def done(self, waiting: Iterable[Heartbeat]) -> None:
        """Called after heartbeats were accepted: now and then, rewrite the file with what is still waiting."""
        left = list(waiting)
        self._stale += 1
        if not left and not self.stores_at_once:
            self.close(left)
        elif self._file is not None and (not left or self._stale >= MAX_STALE):
            try:
                self._file = self._rewritten(self._file, left)
                self._stale = 0
            except OSError as error:
                self._failed(error)

    def _failed(self, error: Exception) -> None:
        if self.stores_at_once:
            warn_once(f"clevagent: the spool {self.path} cannot be written ({error})")
        else:  # a read-only file system is nothing to warn of: nobody asked for the file
            log.info("unsent heartbeats cannot be stored in %s (%s)", self.path.parent, error)

    def _rewritten(self, file: int, left: list[Heartbeat]) -> int:
        self._size = 0
        if not left:
            os.truncate(file, 0)
            return file
        # Lock the new file before it replaces the old one, so no other process adopts it in between.
        new = self.path.with_name(self.path.name + "~")
        fresh = _opened(new)
        self._size = os.write(fresh, b"".join(encode(beat.fields) + b"\n" for beat in left))
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

    def beside(self, suffix: str) -> Spool:
        """Return a spool with a file of its own, for another thread."""
        return Spool(Place(self._base, self.stores_at_once), self.path.name[len(self._base.name) + 1 :] + suffix)

    def leave(self) -> None:
        """Close the file and leave it to another process."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def reset_after_fork(self, instance: str) -> None:
        """Reset in a forked child: the file belongs to the parent."""
        # Closing the descriptor keeps the parent's lock, because both share it.
        self.leave()
        self._begin(instance)


def _opened(path: Path) -> int:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Reports can be private, so only the owner may read the file.
    file = os.open(path, _FLAGS | os.O_CREAT, 0o600)
    try:
        _lock(file)
    except OSError:
        os.close(file)
        raise
    return file


def _lock(file: int) -> None:
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _locked(path: Path) -> int | None:
    """Open and lock the file, or return None if a living process holds it, or it is not this user's."""
    try:
        file = os.open(path, _FLAGS)
    except OSError:
        return None
    try:
        _lock(file)
        if _is_still(path, file):
            return file
    except OSError:
        pass
    os.close(file)
    return None


def _is_abandoned(path: Path) -> bool:
    """Whether no running TypeScript process keeps the file. One on another machine is unknown."""
    if path.suffix != LIVE:
        return True
    try:
        is_quiet = time.time() - path.stat().st_mtime > MAX_QUIET
        start, pid, _ = path.stem.rsplit("-", 2)
        is_here = start.endswith(f".ts-{socket.gethostname()[:30]}")
        return is_quiet or (is_here and not _is_running(int(pid)))
    except (OSError, ValueError):
        return False


def _is_running(pid: int) -> bool:
    if not hasattr(os, "geteuid"):  # on Windows, `os.kill` ends processes
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    # After a restart of a container, an earlier process had the number of this one.
    return pid != os.getpid()


def _is_still(path: Path, file: int) -> bool:
    """Whether the path still leads to the file: its owner may have replaced it before the lock."""
    found, there = os.fstat(file), os.lstat(path)
    is_ours = found.st_uid == _user() or not hasattr(os, "geteuid")
    return is_ours and (found.st_ino, found.st_dev) == (there.st_ino, there.st_dev)


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
