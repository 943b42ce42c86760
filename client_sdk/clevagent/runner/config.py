"""What a runner is told: the command line over the environment over the TOML file.

The file's keys are those of `KEYS` and, in each `[[targets]]`, those of `TARGET_KEYS` and of the target's backend.
"""

from __future__ import annotations

import importlib
import math
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clevagent.transport import base_of

from . import backends
from .errors import Wrong
from .target import Target, made

ENDPOINT = "http://127.0.0.1:8000"
# The published runner's default; the server's smallest interval.
INTERVAL = 30.0
MIN_INTERVAL = 1.0
MAX_INTERVAL = 3600.0
MIN_PROGRESS_TIMEOUT = 5.0
KEYS = ("endpoint", "api_key_file", "interval", "name", "state", "log_level", "restart_on_down", "targets")
TARGET_KEYS = ("type", "target", "agent", "labels", "restart_on_down", "progress_timeout", "probe")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
KINDS: dict[type, str] = {str: "a text", bool: "true or false", float: "a number", dict: "a table", list: "a list"}


@dataclass(frozen=True)
class Settings:
    """All of it, checked. `interval` is in seconds; `state` is the path of the state file."""

    targets: tuple[Target, ...]
    api_key: str
    endpoint: str = ENDPOINT
    interval: float = INTERVAL
    name: str = ""
    state: str = ""
    log_level: str = "INFO"


def read(path: Path) -> dict[str, Any]:
    """The TOML file. Raises Wrong with the line of what cannot be read, and for a key that is not known."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Wrong(f"--config {path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        found: dict[str, Any] = _toml().loads(text)
    except ValueError as error:
        raise Wrong(f"--config {path}: is not valid TOML: {error}") from None
    _refuse_key(found, path)
    unknown = [key for key in found if key not in KEYS]
    if unknown:
        raise Wrong(f"--config {path}: {unknown[0]!r} is not known; write one of {', '.join(KEYS)}")
    return found


def targets_of(found: Mapping[str, Any]) -> list[Target]:
    """The targets of a TOML file. Raises Wrong."""
    tables = found.get("targets", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise Wrong("targets: write one [[targets]] table for each target")
    everywhere = value(found, "restart_on_down", bool, False)
    return [_target(table, everywhere) for table in tables]


def checked(targets: Sequence[Target]) -> tuple[Target, ...]:
    """The targets, each of a known type, with a name its backend can use, and no two the same. Raises Wrong."""
    if not targets:
        raise Wrong("Nothing to watch: add --watch TYPE:TARGET, or [[targets]] in the file of --config")
    keys: set[tuple[str, str]] = set()
    agents: dict[str, Target] = {}
    for target in targets:
        complaint = backends.of(target.type).complaint(target)
        if complaint:
            raise Wrong(complaint)
        if target.key in keys:
            raise Wrong(f"{target} is to be watched twice; name it once")
        if target.agent in agents:
            first = agents[target.agent]
            raise Wrong(f"{first} and {target} would both report as {target.agent!r}; name one with =AGENT")
        keys.add(target.key)
        agents[target.agent] = target
    return tuple(targets)


def key_from(path: Path) -> str:
    """The API key in a file: alone on a line, or as `CLEVAGENT_API_KEY=…`. Raises Wrong."""
    try:
        lines = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise Wrong(f"The key file {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(lines) != 1:
        raise Wrong(f"The key file {path} must hold the key and nothing else")
    return lines[0].rpartition("=")[2].strip("\"'")


def endpoint_checked(endpoint: str) -> str:
    """The address without the API's path. Raises Wrong."""
    try:
        return base_of(endpoint).geturl()
    except ValueError as error:
        raise Wrong(str(error)) from None


def interval_checked(seconds: float) -> float:
    """Raises Wrong for an interval that the server would refuse."""
    if not math.isfinite(seconds) or not MIN_INTERVAL <= seconds <= MAX_INTERVAL:
        least, most = MIN_INTERVAL, MAX_INTERVAL
        raise Wrong(f"The interval {seconds:g} must be from {least:g} to {most:g} seconds")
    return seconds


def level_checked(level: str) -> str:
    """Raises Wrong for a level that does not exist."""
    if level.upper() not in LEVELS:
        raise Wrong(f"The log level {level!r} must be one of {', '.join(LEVELS)}")
    return level.upper()


def default_name() -> str:
    """This machine's name, by which the server tells this runner from others."""
    return socket.gethostname() or "runner"


def default_state(name: str | None) -> Path:
    """Where the state is kept: systemd's folder, root's, or the user's; in a file of the runner's own name."""
    file = f"runner-{_plain(name)}.json" if name else "runner.json"
    return state_folder() / file


def state_folder() -> Path:
    if os.environ.get("STATE_DIRECTORY"):
        return Path(os.environ["STATE_DIRECTORY"].split(":")[0])
    if os.geteuid() == 0:
        return Path("/var/lib/clevagent")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "clevagent"


def value(table: Mapping[str, Any], key: str, kind: type, default: Any, where: str = "") -> Any:
    """One value of a table, of its kind. Raises Wrong."""
    found = table.get(key, default)
    wanted: tuple[type, ...] = (int, float) if kind is float else (kind,)
    if found is default or (isinstance(found, wanted) and (kind is bool or not isinstance(found, bool))):
        return found
    raise Wrong(f"{where}{key} = {found!r} must be {KINDS[kind]}")


def _target(table: Mapping[str, Any], everywhere: bool) -> Target:
    where = f"[[targets]] {table.get('target') or table.get('agent') or ''}: "
    kind, name = value(table, "type", str, "", where), value(table, "target", str, "", where)
    if not kind:
        raise Wrong(f"{where}type is missing; write one of {', '.join(backends.BY_KIND)}")
    options = {key: each for key, each in table.items() if key not in TARGET_KEYS}
    known = getattr(backends.of(kind), "OPTIONS", ())
    unknown = [key for key in options if key not in known]
    if unknown:
        raise Wrong(f"{where}{unknown[0]!r} is not known; write one of {', '.join((*TARGET_KEYS, *known))}")
    return made(
        kind,
        name,
        value(table, "agent", str, None, where),
        labels=_labels(value(table, "labels", dict, {}, where), where),
        restart_on_down=value(table, "restart_on_down", bool, everywhere, where),
        progress_timeout=_progress_timeout(value(table, "progress_timeout", float, None, where), where),
        probe=value(table, "probe", dict, None, where),
        options=options,
    )


def _labels(found: Mapping[str, Any], where: str) -> dict[str, str]:
    if not all(isinstance(text, str) for text in found.values()):
        raise Wrong(f'{where}labels must be texts, as in labels = {{ team = "research" }}')
    return dict(found)


def _progress_timeout(seconds: float | None, where: str) -> float | None:
    if seconds is not None and not seconds >= MIN_PROGRESS_TIMEOUT:
        raise Wrong(f"{where}progress_timeout = {seconds} must be {MIN_PROGRESS_TIMEOUT:g} seconds or more")
    return seconds


def _refuse_key(found: Mapping[str, Any], path: Path) -> None:
    if "api_key" in found:
        raise Wrong(f"--config {path}: keep the key out of it, in a file of mode 0600 that api_key_file names")


def _toml() -> Any:
    for module in ("tomllib", "tomli"):
        try:
            return importlib.import_module(module)
        except ImportError:
            continue
    raise Wrong("--config needs Python 3.11, or the package tomli: pip install tomli. Or name targets with --watch.")


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
