"""Runs the watches, the polling and the reporting, each in a thread of its own, until it is told to end."""

from __future__ import annotations

import importlib
import logging
import queue
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable

from clevagent.version import VERSION

from . import backends
from .backends.base import Finder, Observation, Probe, Starter
from .commands import Desk
from .config import Settings
from .errors import Wrong
from .server import Server
from .state import Store
from .target import Target
from .watch import CHECK_WITHIN, Watch

log = logging.getLogger(__name__)

FIND_EVERY = 60.0
LOOKS_AT_ONCE = 16
# Seconds; systemd gives a service 90 to stop.
FINISH_WITHIN = 10.0
TICK = 1.0
# A watch that has not come round for so long is stuck; systemd, if it watches us, is then told no more.
STUCK_INTERVALS = 3
STUCK_EXTRA = 300.0


class Supervisor:
    """The running runner. `begin` starts everything, `wait` stays until `ask_to_end`, `end` ends everything."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.settings, self.store = settings, store
        self.ended = threading.Event()
        # Its put() may be called from a signal's handler; set() of an Event there could wait for itself.
        self._asked: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.server = Server(settings.endpoint, settings.api_key, settings.name)
        self.watches: dict[tuple[str, str], Watch] = {}
        self.desk = Desk(self.server, store, self._targets, self.ended, self._wake)
        self._finders = [target for target in settings.targets if selects(target)]
        self._threads: list[threading.Thread] = []

    def begin(self) -> None:
        """Start to watch. Raises Wrong for a target that does not exist."""
        named = [target for target in self.settings.targets if target not in self._finders]
        # At once: a supervisor that hangs takes its time for each of them.
        with ThreadPoolExecutor(LOOKS_AT_ONCE) as looks:
            list(looks.map(self._require_there, named))
        for target in named:
            self._add(target)
        self._find()
        self._start("commands", self.desk.poll_forever)
        self._start("results", self.desk.report_forever)
        if self._finders:
            self._start("find", self._find_forever)
        log.info("clevagent-runner %s watches %s for %s", VERSION, self._words(), self.settings.endpoint)

    def wait(self) -> None:
        """Stay until the end; tell systemd, if it started us, that we are well."""
        _notify(READY=1, STATUS=f"Watching {self._words()}")
        while not self._is_asked_to_end(TICK):
            self.store.flush()
            if self.is_well(time.monotonic()):
                _notify(WATCHDOG=1)
        _notify(STOPPING=1)

    def ask_to_end(self) -> None:
        """Let `wait` return. Safe in a signal's handler."""
        self._asked.put(True)

    def end(self) -> None:
        """Let every thread come to its end, and restarts that are under way for a few seconds."""
        self.ended.set()
        self.desk.finish(FINISH_WITHIN)
        for watch in list(self.watches.values()):
            watch.wake()

    def is_well(self, now: float) -> bool:
        """Whether every thread lives and every watch came round lately. `now` is monotonic."""
        patience = self.settings.interval * STUCK_INTERVALS + STUCK_EXTRA
        stuck = [watch for watch in list(self.watches.values()) if now - watch.turned_at > patience]
        return not stuck and all(thread.is_alive() for thread in self._threads)

    def _is_asked_to_end(self, seconds: float) -> bool:
        try:
            return self._asked.get(timeout=seconds)
        except queue.Empty:
            return False

    def _targets(self) -> Mapping[tuple[str, str], Target]:
        return {key: watch.target for key, watch in list(self.watches.items())}

    def _wake(self, target: Target) -> None:
        watch = self.watches.get(target.key)
        if watch is not None:
            watch.wake()

    def _require_there(self, target: Target) -> None:
        backend = backends.of(target.type)
        if isinstance(backend, Starter) and self.store.target(str(target)).held_at is None:
            backend.begin(target)
        seen = look(target)
        if seen.missing:
            raise Wrong(f"{target}: {seen.why}; check its name with `clevagent-runner check`")

    def _add(self, target: Target) -> None:
        probe = probe_of(target)
        watch = Watch(target, self.server, self.store, self.desk, self.settings.interval, self.ended, probe)
        self.watches[target.key] = watch
        self._start(str(target), watch.run)

    def _start(self, name: str, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=self._run, args=(work,), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        finally:
            self.server.close()

    def _find_forever(self) -> None:
        while not self.ended.wait(FIND_EVERY):
            try:
                self._find()
            except Exception:
                log.exception("Targets could not be looked for")

    def _find(self) -> None:
        """Watch what the selections hold now. What is gone is watched on: that it is gone is what is to be told."""
        for target in self._finders:
            for found in find(target) or ():
                if found.key not in self.watches:
                    log.info("%s was found by %s", found, target, extra={"target": found})
                    self._add(found)

    def _words(self) -> str:
        return words(watch.target for watch in list(self.watches.values()))


def selects(target: Target) -> bool:
    """Whether the target is a selection of several, such as Docker's by a label."""
    backend = backends.of(target.type)
    return isinstance(backend, Finder) and backend.selects(target)


def find(target: Target) -> list[Target] | None:
    """What a selection holds now; None when it cannot be asked."""
    backend = backends.of(target.type)
    found = backend.find(target, CHECK_WITHIN) if isinstance(backend, Finder) else None
    return None if found is None else list(found)


def look(target: Target) -> Observation:
    """One look at a target."""
    return backends.of(target.type).check(target, CHECK_WITHIN)


def probe_of(target: Target) -> Probe | None:
    """The target's probe, if it has one. Raises Wrong for settings that no probe understands."""
    if target.probe is None:
        return None
    probes = importlib.import_module("clevagent.runner.probes")
    made: Probe = probes.make(target.probe, target)
    return made


def words(targets: Iterable[Target]) -> str:
    """The targets in a sentence."""
    return ", ".join(f"{target} as {target.agent}" for target in targets) or "nothing"


def open_store(settings: Settings) -> Store:
    """The state file, held for this runner. Raises Wrong."""
    return Store(Path(settings.state))


def _notify(**fields: object) -> None:
    """Tell systemd; nothing happens where it did not start us."""
    from clevagent import systemd

    systemd.notify(**fields)
