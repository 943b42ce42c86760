"""Runs the watches, command polling and result reporting, each in its own thread, until asked to end."""

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

from clevagent.spool import place_of
from clevagent.version import VERSION

from . import backends, unsent
from .backends.base import Finder, Observation, Probe, Starter
from .commands import CommandExecutor
from .config import Settings
from .errors import ConfigError
from .server import Server
from .state import Store
from .status_report import STOPPED
from .target import Target
from .watch import MAX_CHECK, Watch

log = logging.getLogger(__name__)

FIND_INTERVAL = 60.0
MAX_PARALLEL_CHECKS = 16
# Seconds. systemd gives a service 90 to stop.
MAX_FINISH = 10.0
TICK = 1.0
# After this long without a check, a watch is stuck, and systemd's watchdog is no longer fed.
STUCK_INTERVALS = 3
STUCK_MARGIN = 300.0


class Supervisor:
    """The running runner. `begin` starts everything, `wait` blocks until `request_end`, `end` stops everything."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.settings, self.store = settings, store
        self.ended = threading.Event()
        # Signal handlers may call its put(); an Event's set() could deadlock there.
        self._asked: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.server = Server(settings.endpoint, settings.api_key, settings.name)
        self.watches: dict[tuple[str, str], Watch] = {}
        self.executor = CommandExecutor(self.server, store, self._targets, self.ended, self._wake)
        self._finders = [target for target in settings.targets if is_selection(target)]
        self._threads: list[threading.Thread] = []

    def begin(self) -> None:
        """Start watching. Raises ConfigError for a target that does not exist."""
        named = [target for target in self.settings.targets if target not in self._finders]
        # In parallel, because each hanging supervisor takes until its timeout.
        with ThreadPoolExecutor(MAX_PARALLEL_CHECKS) as looks:
            list(looks.map(self._require_exists, named))
        for target in named:
            self._add(target)
        self._find()
        self._start("commands", self.executor.poll_forever)
        self._start("results", self.executor.report_forever)
        if self._finders:
            self._start("find", self._find_forever)
        self._deliver_unsent()
        log.info("clevagent-runner %s is watching %s for %s", VERSION, self._describe(), self.settings.endpoint)

    def _deliver_unsent(self) -> None:
        place = place_of(None, self.settings.api_key)
        if place is not None:
            reporter = unsent.courier(place, self.settings.endpoint, self.settings.api_key)
            self._start("unsent", lambda: unsent.deliver_until(self.ended, reporter))

    def wait(self) -> None:
        """Block until the end is requested; meanwhile tell systemd, if it started the runner, that all is well."""
        _notify(READY=1, STATUS=f"Watching {self._describe()}")
        while not self._is_end_requested(TICK):
            self.store.flush()
            if self.is_healthy(time.monotonic()):
                _notify(WATCHDOG=1)
        _notify(STOPPING=1)

    def request_end(self) -> None:
        """Make `wait` return. Safe in a signal handler."""
        self._asked.put(True)

    def end(self) -> None:
        """Stop all threads, giving running commands a few seconds."""
        self.ended.set()
        self.executor.finish(MAX_FINISH)
        for watch in list(self.watches.values()):
            watch.wake()

    def is_healthy(self, now: float) -> bool:
        """Whether every thread is alive and every watch has checked recently. `now` is monotonic."""
        patience = self.settings.interval * STUCK_INTERVALS + STUCK_MARGIN
        stuck = [watch for watch in list(self.watches.values()) if now - watch.checked_at > patience]
        return not stuck and all(thread.is_alive() for thread in self._threads)

    def _is_end_requested(self, seconds: float) -> bool:
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

    def _require_exists(self, target: Target) -> None:
        backend = backends.of(target.type)
        memory = self.store.target(str(target))
        if isinstance(backend, Starter) and memory.held_at is None and memory.intent != STOPPED:
            backend.start_if_needed(target)
        seen = look(target)
        if seen.missing:
            raise ConfigError(f"{target}: {seen.why}; verify its name with `clevagent-runner check`")

    def _add(self, target: Target) -> None:
        probe = probe_of(target)
        watch = Watch(target, self.server, self.store, self.executor, self.settings.interval, self.ended, probe)
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
        while not self.ended.wait(FIND_INTERVAL):
            try:
                self._find()
            except Exception:
                log.exception("Could not look for targets")

    def _find(self) -> None:
        """Watch newly selected targets. Targets that disappear stay watched, because that is worth reporting."""
        for selection in self._finders:
            for target in find(selection) or ():
                if target.key not in self.watches:
                    log.info("%s was selected by %s", target, selection, extra={"target": target})
                    self._add(target)

    def _describe(self) -> str:
        return describe(watch.target for watch in list(self.watches.values()))


def is_selection(target: Target) -> bool:
    """Whether the target selects several others, such as Docker containers by label."""
    backend = backends.of(target.type)
    return isinstance(backend, Finder) and backend.selects(target)


def find(target: Target) -> list[Target] | None:
    """Return the currently selected targets, or None if they cannot be listed."""
    backend = backends.of(target.type)
    targets = backend.find(target, MAX_CHECK) if isinstance(backend, Finder) else None
    return None if targets is None else list(targets)


def look(target: Target) -> Observation:
    """Check a target once."""
    return backends.of(target.type).check(target, MAX_CHECK)


def probe_of(target: Target) -> Probe | None:
    """Return the target's probe, if any. Raises ConfigError for invalid settings."""
    if target.probe is None:
        return None
    probes = importlib.import_module("clevagent.runner.probes")
    probe: Probe = probes.make(target.probe, target)
    return probe


def describe(targets: Iterable[Target]) -> str:
    """List the targets in a sentence."""
    return ", ".join(f"{target} as {target.agent}" for target in targets) or "nothing"


def open_store(settings: Settings) -> Store:
    """Open and lock the state file. Raises ConfigError."""
    return Store(Path(settings.state))


def _notify(**fields: object) -> None:
    """Notify systemd, if it started the runner."""
    from clevagent import systemd

    systemd.notify(**fields)
