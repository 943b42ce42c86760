"""Progress seen from outside, for agents that cannot be changed: `probe = { … }` in a target's table.

`log = PATH`        the file grows; a pattern such as `/var/log/bot/*.log` stands for all it matches
`output = true`     a container writes to its stdout or stderr; for targets of type docker
`journal = UNIT`    the unit's own processes write to the journal; `user = true` for a unit of the user's manager
`http = URL`        what it answers changes: `field = "queue.done"` of its JSON, else its ETag, else its body
`command = [ARGV]`  what it prints changes; run without a shell, as the runner's user

Each may have `timeout` (seconds, 3). The last two may have `direction = "up"` or `"down"` for numbers of which only
that is work, such as the depth of a queue that others fill, and `idle = VALUE` for when there is nothing to do.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import http.client
import json
import re
import stat
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from .backends.base import Evidence, Probe
from .backends.docker import Engine
from .backends.rest import Reply, ask
from .errors import Wrong
from .program import run
from .target import Target

TIMEOUT = 3.0
MAX_TIMEOUT = 10.0
MAX_VALUE_LENGTH = 100
MAX_TROUBLE_LENGTH = 200
# A pattern that matches more than a folder of logs would make each look slow.
MAX_FILES = 200
# What is added to a probe's own limit before it is left to itself.
LEAVE_AFTER = 0.5
DIRECTIONS = ("any", "up", "down")
# What Docker puts before each line, after a few bytes that say which stream it is of.
WRITTEN_AT = re.compile(rb"\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)")
UNREADABLE = ("insufficient permissions", "not seeing messages")


class Unseen(Exception):  # noqa: N818 - a state of what is looked at
    """It could not be looked at. The message says why."""


@dataclass(frozen=True)
class Reading:
    """`mark` is compared with the one before; `shown` is what a person is told of it."""

    mark: Any
    shown: str


@dataclass(frozen=True)
class Source:
    """Something to look at: `measure` takes seconds and raises Unseen; `moved` compares two marks, older first."""

    name: str
    measure: Callable[[float], Reading]
    moved: Callable[[Any, Any], bool]


class Watcher:
    """A Probe. The first look is where it begins from, and no progress."""

    def __init__(self, source: Source, timeout: float) -> None:
        self._source, self._timeout = source, timeout
        self._before: Reading | None = None
        self._moved_at = 0.0
        self._thread: threading.Thread | None = None

    def look(self, now: float) -> tuple[bool | None, Evidence]:
        shown: Evidence = {"probe": self._source.name}
        reading = self._measured()
        if isinstance(reading, str):
            return None, {**shown, "probe_error": reading}
        shown["probe_value"] = reading.shown[:MAX_VALUE_LENGTH]
        before, self._before = self._before, reading
        try:
            moved = None if before is None else self._source.moved(before.mark, reading.mark)
        except Unseen as trouble:
            return None, {**shown, "probe_error": str(trouble)[:MAX_TROUBLE_LENGTH]}
        if moved is False:
            return False, {**shown, "probe_still_for": round(now - self._moved_at)}
        self._moved_at = now
        return moved, shown

    def _measured(self) -> Reading | str:
        """A reading, or why there is none. A look that does not return, as at a dead disk, is left to its thread."""
        if self._thread is not None and self._thread.is_alive():
            return "the look before has not returned yet"
        found: list[Reading | str] = []
        self._thread = threading.Thread(target=lambda: found.append(self._guarded()), daemon=True, name="probe")
        self._thread.start()
        self._thread.join(self._timeout + LEAVE_AFTER)
        return found[0] if found else f"no answer within {self._timeout:g} s"

    def _guarded(self) -> Reading | str:
        try:
            return self._source.measure(self._timeout)
        except Unseen as trouble:
            return str(trouble)[:MAX_TROUBLE_LENGTH]
        except Exception as error:
            return f"{type(error).__name__}: {error}"[:MAX_TROUBLE_LENGTH]


def make(settings: Mapping[str, Any], target: Target) -> Probe:
    """The probe that the table describes. Raises Wrong with what to write instead."""
    kinds = [name for name in KINDS if name in settings]
    if len(kinds) != 1:
        raise Wrong(f'{target}: a probe is one of {", ".join(KINDS)}, as in probe = {{ log = "/var/log/bot.log" }}')
    kind, known = kinds[0], (kinds[0], "timeout", *OPTIONS[kinds[0]])
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise Wrong(f"{target}: probe.{unknown[0]} is not known; a {kind} probe has {', '.join(known)}")
    timeout = settings.get("timeout", TIMEOUT)
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout <= MAX_TIMEOUT:
        raise Wrong(f"{target}: probe.timeout is a number of seconds up to {MAX_TIMEOUT:g}")
    try:
        return Watcher(KINDS[kind](settings, target), timeout)
    except Wrong as wrong:
        raise Wrong(f"{target}: probe.{kind} {wrong}") from None


def _log(settings: Mapping[str, Any], target: Target) -> Source:
    path = _text(settings, "log")
    if not Path(path).is_absolute():
        raise Wrong("is a whole path, such as /var/log/bot.log")
    return Source(f"log {path}", lambda timeout: _sizes(path), _grew)


def _sizes(path: str) -> Reading:
    """The size of each file by its identity: a renamed one is the same, one under an old name is new."""
    sizes = {}
    # glob, since a path's own pattern cannot be absolute.
    for name in glob.glob(path)[:MAX_FILES]:  # noqa: PTH207
        with contextlib.suppress(FileNotFoundError):
            found = Path(name).stat()
            if stat.S_ISREG(found.st_mode):
                sizes[found.st_dev, found.st_ino] = found.st_size
    if not sizes:
        raise Unseen(f"there is no file {path}, or it may not be seen")
    return Reading(sizes, f"{sum(sizes.values())} bytes")


def _grew(before: Any, now: Any) -> bool:
    """One that is new, or that was cut, holds only what was written since."""
    return any(size > before.get(file, 0) or 0 < size < before[file] for file, size in now.items())


def _output(settings: Mapping[str, Any], target: Target) -> Source:
    if settings["output"] is not True or target.type != "docker":
        raise Wrong("is true, and for targets of type docker")
    return Source(f"output of {target.name}", lambda timeout: _last_line(target, timeout), _differs)


def _last_line(target: Target, timeout: float) -> Reading:
    engine = Engine(target, timeout)
    query = {"stdout": 1, "stderr": 1, "timestamps": 1, "tail": 1}
    reply = engine.ask("GET", f"/containers/{target.name}/logs", query)
    if not reply.accepted:
        raise Unseen(engine.trouble(reply))
    written = WRITTEN_AT.search(reply.text)
    return Reading(hashlib.sha256(reply.text).hexdigest(), written.group().decode() if written else "nothing")


def _journal(settings: Mapping[str, Any], target: Target) -> Source:
    unit, user = _text(settings, "journal"), settings.get("user", False)
    if unit.startswith("-") or not isinstance(user, bool):
        raise Wrong('is a unit, such as "bot.service", and user is true or false')
    unit = unit if "." in unit else f"{unit}.service"
    # Not `-u`: that also shows what systemd says of the unit, and a restart is no work.
    match = ("--user", f"_SYSTEMD_USER_UNIT={unit}") if user else (f"_SYSTEMD_UNIT={unit}",)
    argv = ("journalctl", "--no-pager", "-n", "1", "-o", "json", "--output-fields=_PID", *match)
    return Source(f"journal {unit}", lambda timeout: _last_entry(argv, timeout), _differs)


def _last_entry(argv: tuple[str, ...], timeout: float) -> Reading:
    ran = run(argv, timeout)
    lines = [line for line in ran.output.splitlines() if line.startswith("{")]
    if not ran.ok and not lines:
        raise Unseen(ran.why)
    if not lines and any(sign in ran.error for sign in UNREADABLE):
        raise Unseen("the journal may not be read: add the runner's user to the group systemd-journal")
    entry = json.loads(lines[-1]) if lines else {}
    return Reading(entry.get("__CURSOR"), "an entry" if entry else "no entry")


def _http(settings: Mapping[str, Any], target: Target) -> Source:
    url, field = urlsplit(_text(settings, "http")), settings.get("field")
    if url.scheme not in ("http", "https") or not url.hostname or url.username:
        raise Wrong("is an address, such as http://127.0.0.1:9000/stats, without a name and password")
    if field is not None and not (isinstance(field, str) and field):
        raise Wrong('has a field, such as "queue.done"')
    if field is None and ("direction" in settings or "idle" in settings):
        raise Wrong("needs a field for direction and idle")
    # What follows the path can hold a secret.
    name = f"http {url._replace(query='', fragment='').geturl()}"
    return Source(name, lambda timeout: _answer(url, field, timeout), _comparison(settings))


def _answer(url: SplitResult, field: str | None, timeout: float) -> Reading:
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=timeout)
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    reply = ask(connection, "GET", path)
    if not reply.accepted:
        raise Unseen(reply.trouble)
    if field is not None:
        value = _field(reply, field)
        return Reading(value, value)
    etag = reply.headers.get("etag")
    mark = etag or hashlib.sha256(reply.text).hexdigest()
    return Reading(mark, etag or f"{len(reply.text)} bytes")


def _field(reply: Reply, field: str) -> str:
    found = reply.body
    for part in field.split("."):
        if isinstance(found, list) and part.isdigit() and int(part) < len(found):
            found = found[int(part)]
        elif isinstance(found, dict) and part in found:
            found = found[part]
        else:
            raise Unseen(f"its answer has no field {field}")
    return found if isinstance(found, str) else json.dumps(found)


def _command(settings: Mapping[str, Any], target: Target) -> Source:
    argv = settings["command"]
    if not (isinstance(argv, list) and argv and all(isinstance(word, str) and word for word in argv)):
        raise Wrong('is a list of words, such as ["redis-cli", "llen", "jobs"]; no shell runs it')
    return Source(f"command {Path(argv[0]).name}", lambda timeout: _printed(argv, timeout), _comparison(settings))


def _printed(argv: list[str], timeout: float) -> Reading:
    ran = run(argv, timeout)
    if not ran.ok:
        raise Unseen(ran.why)
    text = ran.output.strip()
    return Reading(text, " ".join(text.split()))


def _comparison(settings: Mapping[str, Any]) -> Callable[[Any, Any], bool]:
    """How two marks are compared: they differ, or move in the one direction; one that says idle is never still."""
    direction, idle = settings.get("direction", "any"), settings.get("idle")
    if direction not in DIRECTIONS:
        raise Wrong(f"has a direction, one of {', '.join(DIRECTIONS)}")
    compare = {"any": _differs, "up": _rises, "down": _falls}[direction]

    def moved(before: Any, now: Any) -> bool:
        return (idle is not None and now == str(idle)) or compare(before, now)

    return moved


def _differs(before: Any, now: Any) -> bool:
    return bool(before != now)


def _rises(before: Any, now: Any) -> bool:
    """Raises Unseen when they are no numbers."""
    try:
        return float(before) < float(now)
    except (TypeError, ValueError):
        raise Unseen(f"{before!r} and {now!r} cannot be compared as numbers") from None


def _falls(before: Any, now: Any) -> bool:
    return _rises(now, before)


def _text(settings: Mapping[str, Any], name: str) -> str:
    found = settings[name]
    if not isinstance(found, str) or not found or not found.isprintable():
        raise Wrong("is a text")
    return found


KINDS: dict[str, Callable[[Mapping[str, Any], Target], Source]] = {
    "log": _log,
    "output": _output,
    "journal": _journal,
    "http": _http,
    "command": _command,
}
OPTIONS = {
    "log": (),
    "output": (),
    "journal": ("user",),
    "http": ("field", "direction", "idle"),
    "command": ("direction", "idle"),
}
