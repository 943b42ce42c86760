"""The state file: commands, restarts, held stops and last observations, which must survive the runner."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from .backends.base import Evidence
from .errors import ConfigError
from .private import open_private

log = logging.getLogger(__name__)

VERSION = 1
# Seconds to remember commands, which expire after minutes. A new server starts its ids from 1 again.
KEEP_COMMANDS = 3_600.0

# JSON types accepted for each annotation below.
TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "float": (int, float),
    "float | None": (int, float, type(None)),
    "list[float]": (list,),
    "Evidence": (dict,),
}


@dataclass
class TargetRecord:
    """One target. Times are Unix seconds or None. `status` and `message` were last reported to the server."""

    agent: str = ""
    state: str = ""
    why: str = ""
    evidence: Evidence = field(default_factory=dict)
    seen_at: float | None = None
    told_at: float | None = None
    status: str = ""
    message: str = ""
    down_since: float | None = None
    restarts: list[float] = field(default_factory=list)
    gave_up: bool = False
    # A requested stop lasts from `held_at`; `held_seen` means the target was seen stopped since.
    held_at: float | None = None
    held_seen: bool = False
    # Why it is not running (`stopped` or `unknown`; empty: it failed), and the run that this is about.
    intent: str = ""
    run: str = ""
    # The server's last answers: the agent is on hold, and why it refused a restart for good.
    hold: bool = False
    refused: str = ""


@dataclass
class CommandRecord:
    """An accepted command. `status` is empty until it is finished, `done` is true once the server has the result."""

    id: int
    action: str
    type: str
    target: str
    taken_at: float
    status: str = ""
    message: str = ""
    done: bool = False


Record = TypeVar("Record", TargetRecord, CommandRecord)


@dataclass
class RunnerState:
    """Everything in the file."""

    targets: dict[str, TargetRecord] = field(default_factory=dict)
    commands: dict[str, CommandRecord] = field(default_factory=dict)
    pid: int = 0
    started_at: float = 0.0


class Store:
    """The state file. A damaged file is moved aside and logged. Without a path, nothing is stored.

    Raises ConfigError if the file cannot be written or another runner holds it.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._is_newer = False
        self._held: int | None = _lock(path) if path else None
        self.kept = read(path) if path else RunnerState()
        with self.changing() as kept:
            kept.pid, kept.started_at = os.getpid(), time.time()

    @contextlib.contextmanager
    def changing(self, *, durable: bool = True) -> Iterator[RunnerState]:
        """Change the state exclusively. It is on disk after the block; with `durable=False`, after the next `flush`."""
        with self._lock:
            yield self.kept
            self._is_newer = True
            if durable:
                self._write(durable=True)

    def flush(self) -> None:
        """Write changes that may be lost in a crash, such as observations."""
        with self._lock:
            if self._is_newer:
                self._write(durable=False)

    def target(self, key: str) -> TargetRecord:
        """Return a target's record. Change it only inside `changing`."""
        with self._lock:
            return self.kept.targets.setdefault(key, TargetRecord())

    def close(self) -> None:
        """Write the remaining changes and release the file."""
        self.flush()
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _write(self, *, durable: bool) -> None:
        self._is_newer = False
        if self._path is None:
            return
        _drop_old_commands(self.kept, time.time())
        try:
            _replace(self._path, json.dumps(_to_json(self.kept), indent=1), durable=durable)
        except OSError as error:
            # Keep watching with an outdated file: a full disk is no reason to stop.
            log.error("The state file %s cannot be written: %s", self._path, error)


def _to_json(kept: RunnerState) -> dict[str, Any]:
    data = asdict(kept)
    # Files of earlier runners call commands "orders".
    commands = data.pop("commands")
    return {"version": VERSION, **data, "orders": commands}


def read(path: Path, *, aside: bool = True) -> RunnerState:
    """Read a state file; empty if there is none. With `aside`, rename a damaged file to `….damaged`."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        targets = {key: _parse_record(TargetRecord, each) for key, each in data["targets"].items()}
        commands = {key: _parse_record(CommandRecord, each) for key, each in data["orders"].items()}
        return RunnerState(targets, commands, int(data.get("pid", 0)), float(data.get("started_at", 0)))
    except FileNotFoundError:
        return RunnerState()
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if aside:
            _put_aside(path, error)
        return RunnerState()


def _put_aside(path: Path, error: Exception) -> None:
    damaged = path.with_name(path.name + ".damaged")
    log.error("The state file %s is damaged (%s); keeping it as %s and starting a new one", path, error, damaged)
    with contextlib.suppress(OSError):
        path.replace(damaged)


def is_held(path: Path) -> bool:
    """Return whether a running runner holds this file."""
    try:
        lock = os.open(_lock_path(path), os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def _parse_record(kind: type[Record], data: dict[str, Any]) -> Record:
    known = {each.name: TYPES[str(each.type)] for each in fields(kind)}
    kept = {name: value for name, value in data.items() if name in known}
    wrong = [name for name, value in kept.items() if not isinstance(value, known[name])]
    if wrong or not all(isinstance(at, (int, float)) for at in kept.get("restarts", ())):
        raise ValueError(f"{wrong[0] if wrong else 'restarts'} has the wrong type")
    return kind(**kept)


def _lock_path(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _lock(path: Path) -> int:
    """Hold the file until the process ends, however it ends."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(_lock_path(path), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(
            f"The state file {path} cannot be written ({error.strerror}); choose another with --state"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        message = f"Another runner already uses {path}; give this one a different --name or --state"
        raise ConfigError(message) from error
    return lock


def _replace(path: Path, text: str, *, durable: bool) -> None:
    """Write to a temporary file and rename it, so the file is never incomplete."""
    beside = path.with_name(path.name + ".new")
    with open_private(beside) as file:
        file.write(text)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    beside.replace(path)
    if durable:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _drop_old_commands(kept: RunnerState, now: float) -> None:
    old = [key for key, command in kept.commands.items() if command.done and command.taken_at < now - KEEP_COMMANDS]
    for key in old:
        del kept.commands[key]
