"""What must outlive the runner: commands it took, restarts it made, stops that hold, what it last saw. A JSON file."""

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
from .errors import Wrong

log = logging.getLogger(__name__)

VERSION = 1
# Commands are void after minutes, so their ids are kept for an hour, in seconds; a new server counts from 1 again.
ORDERS_KEPT = 3_600.0

T = TypeVar("T")
# What JSON may hold for each annotation below.
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
class Memory:
    """Of one target. Times are Unix seconds, None: never. `status` and `message` are what was last claimed of it."""

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
    # A stop on request holds from `held_at`, and the target was seen stopped since.
    held_at: float | None = None
    held_seen: bool = False
    # What the server last said: that the agent is on hold, and why a restart was refused for good.
    hold: bool = False
    refused: str = ""


@dataclass
class Order:
    """A command that was taken. Without `status` it has not been finished; `done` once the server knows the result."""

    id: int
    action: str
    type: str
    target: str
    taken_at: float
    status: str = ""
    message: str = ""
    done: bool = False


@dataclass
class Kept:
    """All of it."""

    targets: dict[str, Memory] = field(default_factory=dict)
    orders: dict[str, Order] = field(default_factory=dict)
    pid: int = 0
    started_at: float = 0.0


class Store:
    """The state file. A damaged one is put aside and said in the log. Without a path nothing is kept.

    Raises Wrong when the file cannot be written or another runner holds it.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._is_newer = False
        self._held: int | None = _lock(path) if path else None
        self.kept = read(path) if path else Kept()
        with self.changing() as kept:
            kept.pid, kept.started_at = os.getpid(), time.time()

    @contextlib.contextmanager
    def changing(self, *, durable: bool = True) -> Iterator[Kept]:
        """Change it alone. When the block ends it is on disk, or with `durable=False` after the next `flush`."""
        with self._lock:
            yield self.kept
            self._is_newer = True
            if durable:
                self._write(durable=True)

    def flush(self) -> None:
        """Write what was only noted: what was seen last, which may be lost with the machine."""
        with self._lock:
            if self._is_newer:
                self._write(durable=False)

    def target(self, key: str) -> Memory:
        """What is remembered of a target; to be changed inside `changing` only."""
        with self._lock:
            return self.kept.targets.setdefault(key, Memory())

    def close(self) -> None:
        """Write what is left, and let another runner have the file."""
        self.flush()
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _write(self, *, durable: bool) -> None:
        self._is_newer = False
        if self._path is None:
            return
        _forget_old(self.kept, time.time())
        try:
            _replace(self._path, json.dumps({"version": VERSION, **asdict(self.kept)}, indent=1), durable=durable)
        except OSError as error:
            # What is on disk is older now, and the watch goes on: a full disk is no reason to stop looking.
            log.error("The state file %s cannot be written: %s", self._path, error)


def read(path: Path, *, aside: bool = True) -> Kept:
    """What a state file holds; nothing when there is none. A damaged one is renamed to `….damaged` if `aside`."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        targets = {key: _made(Memory, each) for key, each in data["targets"].items()}
        orders = {key: _made(Order, each) for key, each in data["orders"].items()}
        return Kept(targets, orders, int(data.get("pid", 0)), float(data.get("started_at", 0)))
    except FileNotFoundError:
        return Kept()
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if aside:
            _put_aside(path, error)
        return Kept()


def _put_aside(path: Path, error: Exception) -> None:
    damaged = path.with_name(path.name + ".damaged")
    log.error("The state file %s is damaged (%s); it is kept as %s and a new one is begun", path, error, damaged)
    with contextlib.suppress(OSError):
        path.replace(damaged)


def is_held(path: Path) -> bool:
    """Whether a running runner holds this file."""
    try:
        found = os.open(_lock_path(path), os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(found)
    return False


def _made(kind: type[T], data: dict[str, Any]) -> T:
    known = {each.name: TYPES[str(each.type)] for each in fields(kind)}  # type: ignore[arg-type]
    kept = {name: value for name, value in data.items() if name in known}
    wrong = [name for name, value in kept.items() if not isinstance(value, known[name])]
    if wrong or not all(isinstance(at, (int, float)) for at in kept.get("restarts", ())):
        raise ValueError(f"{wrong[0] if wrong else 'restarts'} is of another kind")
    return kind(**kept)


def _lock_path(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _lock(path: Path) -> int:
    """Hold the file until the process ends, however it ends."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = os.open(_lock_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Wrong(f"The state file {path} cannot be written ({error.strerror}); name another with --state") from error
    try:
        fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(found)
        message = f"Another runner already uses {path}; give this one a --name (or a --state file) of its own"
        raise Wrong(message) from error
    return found


def _replace(path: Path, text: str, *, durable: bool) -> None:
    """Old or new, never half: written beside it, then renamed over it."""
    beside = path.with_name(path.name + ".new")
    found = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(found, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    beside.replace(path)
    if durable:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    found = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(found)
    finally:
        os.close(found)


def _forget_old(kept: Kept, now: float) -> None:
    old = [key for key, order in kept.orders.items() if order.done and order.taken_at < now - ORDERS_KEPT]
    for key in old:
        del kept.orders[key]
