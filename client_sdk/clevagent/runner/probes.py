"""Evidence of progress for agents you cannot change: `probe = { … }` in a target's table.

`log = PATH`        a file grows; the path may be a pattern such as `/var/log/bot/*.log`
`output = true`     a container writes to stdout or stderr; only for targets of type docker
`journal = UNIT`    the unit's processes write to the journal; `user = true` for a unit of the user's manager
`http = URL`        the answer changes: `field = "queue.done"` of its JSON, else its ETag, else its body
`command = [ARGV]`  the output changes; runs without a shell, as the runner's user

Every probe accepts `timeout` (seconds, default 3). The last two accept `direction = "up"` or `"down"` if only that
direction is work, as in a queue that others fill, and `idle = VALUE` for a value at which there is nothing to do.
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
from .errors import ConfigError
from .program import run
from .target import Target

TIMEOUT = 3.0
MAX_TIMEOUT = 10.0
MAX_VALUE_LENGTH = 100
MAX_TROUBLE_LENGTH = 200
# More matches would make every check slow.
MAX_FILES = 200
# Seconds beyond the probe's own timeout before its thread is abandoned.
THREAD_MARGIN = 0.5
DIRECTIONS = ("any", "up", "down")
# Docker's timestamp, at the start of each line after a few bytes that identify the stream.
WRITTEN_AT = re.compile(rb"\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)")
UNREADABLE = ("insufficient permissions", "not seeing messages")


class ProbeError(Exception):
    """The probe could not read its source. The message says why."""


@dataclass(frozen=True)
class Reading:
    """`mark` is compared with the previous one; `shown` is displayed to people."""

    mark: Any
    shown: str


@dataclass(frozen=True)
class Source:
    """What a probe reads. `measure` takes a timeout and raises ProbeError; `moved` compares an old and a new mark."""

    name: str
    measure: Callable[[float], Reading]
    moved: Callable[[Any, Any], bool]


class Watcher:
    """Implements Probe. The first look is only the starting point, not progress."""

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
        except ProbeError as problem:
            return None, {**shown, "probe_error": str(problem)[:MAX_TROUBLE_LENGTH]}
        if moved is False:
            return False, {**shown, "probe_still_for": round(now - self._moved_at)}
        self._moved_at = now
        return moved, shown

    def _measured(self) -> Reading | str:
        """Return a reading, or why there is none. A look that hangs, as on a dead disk, is left to its thread."""
        if self._thread is not None and self._thread.is_alive():
            return "the previous look has not returned yet"
        results: list[Reading | str] = []
        self._thread = threading.Thread(target=lambda: results.append(self._run_safely()), daemon=True, name="probe")
        self._thread.start()
        self._thread.join(self._timeout + THREAD_MARGIN)
        return results[0] if results else f"no answer within {self._timeout:g} s"

    def _run_safely(self) -> Reading | str:
        try:
            return self._source.measure(self._timeout)
        except ProbeError as problem:
            return str(problem)[:MAX_TROUBLE_LENGTH]
        except Exception as error:
            return f"{type(error).__name__}: {error}"[:MAX_TROUBLE_LENGTH]


def make(settings: Mapping[str, Any], target: Target) -> Probe:
    """Create the probe described by the table. Raises ConfigError."""
    kinds = [name for name in KINDS if name in settings]
    if len(kinds) != 1:
        raise ConfigError(
            f'{target}: a probe needs exactly one of {", ".join(KINDS)}, such as probe = {{ log = "/var/log/bot.log" }}'
        )
    kind, known = kinds[0], (kinds[0], "timeout", *OPTIONS[kinds[0]])
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise ConfigError(f"{target}: probe.{unknown[0]} is unknown; a {kind} probe accepts {', '.join(known)}")
    timeout = settings.get("timeout", TIMEOUT)
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout <= MAX_TIMEOUT:
        raise ConfigError(f"{target}: probe.timeout must be at most {MAX_TIMEOUT:g} seconds")
    try:
        return Watcher(KINDS[kind](settings, target), timeout)
    except ConfigError as wrong:
        raise ConfigError(f"{target}: probe.{kind} {wrong}") from None


def _log(settings: Mapping[str, Any], target: Target) -> Source:
    path = str(Path(_text(settings, "log")).expanduser())
    if not Path(path).is_absolute():
        raise ConfigError("must be an absolute path, such as /var/log/bot.log")
    return Source(f"log {path}", lambda timeout: _sizes(path), _grew)


def _sizes(path: str) -> Reading:
    """Return each file's size by inode, so a renamed file stays the same and its replacement is new."""
    sizes = {}
    # Path.glob() does not accept absolute patterns.
    for name in glob.glob(path)[:MAX_FILES]:  # noqa: PTH207
        with contextlib.suppress(FileNotFoundError):
            status = Path(name).stat()
            if stat.S_ISREG(status.st_mode):
                sizes[status.st_dev, status.st_ino] = status.st_size
    if not sizes:
        raise ProbeError(f"there is no file {path}, or no permission to see it")
    return Reading(sizes, f"{sum(sizes.values())} bytes")


def _grew(before: Any, now: Any) -> bool:
    """A new or truncated file contains only what was written since."""
    return any(size > before.get(file, 0) or 0 < size < before[file] for file, size in now.items())


def _output(settings: Mapping[str, Any], target: Target) -> Source:
    if settings["output"] is not True or target.type != "docker":
        raise ConfigError("must be true, and requires a target of type docker")
    return Source(f"output of {target.name}", lambda timeout: _last_line(target, timeout), _differs)


def _last_line(target: Target, timeout: float) -> Reading:
    engine = Engine(target, timeout)
    query = {"stdout": 1, "stderr": 1, "timestamps": 1, "tail": 1}
    reply = engine.ask("GET", f"/containers/{target.name}/logs", query)
    if not reply.accepted:
        raise ProbeError(engine.problem(reply))
    written = WRITTEN_AT.search(reply.text)
    return Reading(hashlib.sha256(reply.text).hexdigest(), written.group().decode() if written else "nothing")


def _journal(settings: Mapping[str, Any], target: Target) -> Source:
    unit, user = _text(settings, "journal"), settings.get("user", False)
    if unit.startswith("-") or not isinstance(user, bool):
        raise ConfigError('must be a unit, such as "bot.service", and user must be true or false')
    unit = unit if "." in unit else f"{unit}.service"
    # Not `-u`: that includes systemd's own messages about the unit, and a restart is not work.
    match = ("--user", f"_SYSTEMD_USER_UNIT={unit}") if user else (f"_SYSTEMD_UNIT={unit}",)
    argv = ("journalctl", "--no-pager", "-n", "1", "-o", "json", "--output-fields=_PID", *match)
    return Source(f"journal {unit}", lambda timeout: _last_entry(argv, timeout), _differs)


def _last_entry(argv: tuple[str, ...], timeout: float) -> Reading:
    ran = run(argv, timeout)
    lines = [line for line in ran.output.splitlines() if line.startswith("{")]
    if not ran.ok and not lines:
        raise ProbeError(ran.why)
    if not lines and any(sign in ran.error for sign in UNREADABLE):
        raise ProbeError("no permission to read the journal: add the runner's user to the group systemd-journal")
    entry = json.loads(lines[-1]) if lines else {}
    return Reading(entry.get("__CURSOR"), "an entry" if entry else "no entry")


def _http(settings: Mapping[str, Any], target: Target) -> Source:
    url, field = urlsplit(_text(settings, "http")), settings.get("field")
    if url.scheme not in ("http", "https") or not url.hostname or url.username or not _is_port_right(url):
        raise ConfigError("must be an address without user and password, such as http://127.0.0.1:9000/stats")
    if field is not None and not (isinstance(field, str) and field):
        raise ConfigError('accepts a field such as "queue.done"')
    if field is None and ("direction" in settings or "idle" in settings):
        raise ConfigError("requires a field for direction and idle")
    # The query can contain a secret.
    name = f"http {url._replace(query='', fragment='').geturl()}"
    return Source(name, lambda timeout: _answer(url, field, timeout), _comparison(settings))


def _is_port_right(url: SplitResult) -> bool:
    try:
        return url.port != 0
    except ValueError:
        return False


def _answer(url: SplitResult, field: str | None, timeout: float) -> Reading:
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=timeout)
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    reply = ask(connection, "GET", path)
    if not reply.accepted:
        raise ProbeError(reply.problem)
    if field is not None:
        value = _field(reply, field)
        return Reading(value, value)
    etag = reply.headers.get("etag")
    mark = etag or hashlib.sha256(reply.text).hexdigest()
    return Reading(mark, etag or f"{len(reply.text)} bytes")


def _field(reply: Reply, field: str) -> str:
    value = reply.body
    for part in field.split("."):
        if isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            raise ProbeError(f"the answer has no field {field}")
    return value if isinstance(value, str) else json.dumps(value)


def _command(settings: Mapping[str, Any], target: Target) -> Source:
    argv = settings["command"]
    if not (isinstance(argv, list) and argv and all(isinstance(word, str) and word for word in argv)):
        raise ConfigError('must be a list of words, such as ["redis-cli", "llen", "jobs"]; it runs without a shell')
    return Source(f"command {Path(argv[0]).name}", lambda timeout: _printed(argv, timeout), _comparison(settings))


def _printed(argv: list[str], timeout: float) -> Reading:
    ran = run(argv, timeout)
    if not ran.ok:
        raise ProbeError(ran.why)
    text = ran.output.strip()
    return Reading(text, " ".join(text.split()))


def _comparison(settings: Mapping[str, Any]) -> Callable[[Any, Any], bool]:
    """Return how to compare two values: any change, or a change in one direction. The idle value always counts."""
    direction, idle = settings.get("direction", "any"), settings.get("idle")
    if direction not in DIRECTIONS:
        raise ConfigError(f"direction must be one of {', '.join(DIRECTIONS)}")
    compare = {"any": _differs, "up": _rises, "down": _falls}[direction]

    def moved(before: Any, now: Any) -> bool:
        return (idle is not None and now == str(idle)) or compare(before, now)

    return moved


def _differs(before: Any, now: Any) -> bool:
    return bool(before != now)


def _rises(before: Any, now: Any) -> bool:
    """Raises ProbeError unless both are numbers."""
    try:
        return float(before) < float(now)
    except (TypeError, ValueError):
        raise ProbeError(f"{before!r} and {now!r} cannot be compared as numbers") from None


def _falls(before: Any, now: Any) -> bool:
    return _rises(now, before)


def _text(settings: Mapping[str, Any], name: str) -> str:
    value = settings[name]
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ConfigError("must be a string")
    return value


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
