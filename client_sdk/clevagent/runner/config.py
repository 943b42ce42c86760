"""Settings: command line first, then environment, then the TOML file.

The file's keys are listed in `KEYS`; those of each `[[targets]]` table in `TARGET_KEYS` and the backend's OPTIONS.
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

from clevagent.options import MAX_DURATION, MAX_LABEL_NAME_LENGTH, MAX_LABELS, MAX_NAME_LENGTH
from clevagent.transport import parse_endpoint

from . import backends
from .errors import ConfigError
from .target import Target, make_target

ENDPOINT = "http://127.0.0.1:8000"
# Seconds: the published runner's default, and the limits of the server.
INTERVAL = 30.0
MIN_INTERVAL = 1.0
MAX_INTERVAL = 3600.0
MIN_PROGRESS_TIMEOUT = 5.0
KEYS = ("endpoint", "api_key_file", "interval", "name", "state", "log_level", "restart_on_down", "send_log", "targets")
TARGET_KEYS = ("type", "target", "agent", "labels", "restart_on_down", "send_log", "progress_timeout", "probe")
# Keys that the file may set for all targets, with their defaults.
SWITCHES = {"restart_on_down": False, "send_log": True}
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
KINDS: dict[type, str] = {str: "a string", bool: "true or false", float: "a number", dict: "a table", list: "a list"}


@dataclass(frozen=True)
class Settings:
    """Validated settings. `interval` is in seconds; `state` is the path of the state file."""

    targets: tuple[Target, ...]
    api_key: str
    endpoint: str = ENDPOINT
    interval: float = INTERVAL
    name: str = ""
    state: str = ""
    log_level: str = "INFO"


def read(path: Path) -> dict[str, Any]:
    """Read the TOML file. Raises ConfigError for a syntax error, with its line, and for an unknown key."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        data: dict[str, Any] = _toml().loads(text)
    except ValueError as error:
        raise ConfigError(f"--config {path}: is not valid TOML: {error}") from None
    _refuse_key(data, path)
    unknown = [key for key in data if key not in KEYS]
    if unknown:
        raise ConfigError(f"--config {path}: {unknown[0]!r} is unknown; use one of {', '.join(KEYS)}")
    return data


def read_targets(data: Mapping[str, Any]) -> list[Target]:
    """Return the file's targets. Raises ConfigError."""
    tables = data.get("targets", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError("targets: write one [[targets]] table per target")
    everywhere = {name: value(data, name, bool, default) for name, default in SWITCHES.items()}
    return [_target(table, everywhere) for table in tables]


def checked_targets(targets: Sequence[Target]) -> tuple[Target, ...]:
    """Return the targets if all are valid and distinct. Raises ConfigError."""
    if not targets:
        raise ConfigError("Nothing to watch: add --watch TYPE:TARGET, or [[targets]] to the --config file")
    keys: set[tuple[str, str]] = set()
    agents: dict[str, Target] = {}
    for target in targets:
        validation_error = backends.of(target.type).validation_error(target)
        if validation_error:
            raise ConfigError(validation_error)
        if target.key in keys:
            raise ConfigError(f"{target} is listed twice")
        if target.agent in agents:
            first = agents[target.agent]
            raise ConfigError(f"{first} and {target} both report as {target.agent!r}; rename one with =AGENT")
        keys.add(target.key)
        agents[target.agent] = target
    return tuple(targets)


def read_key(path: Path) -> str:
    """Read a file that contains the API key alone or as `CLEVAGENT_API_KEY=…`. Raises ConfigError."""
    try:
        lines = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The key file {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(lines) != 1:
        raise ConfigError(f"The key file {path} must contain the key and nothing else")
    return lines[0].rpartition("=")[2].strip("\"'")


def checked_endpoint(endpoint: str) -> str:
    """Return the address without the API path. Raises ConfigError."""
    try:
        return parse_endpoint(endpoint).geturl()
    except ValueError as error:
        raise ConfigError(str(error)) from None


def checked_interval(seconds: float) -> float:
    """Raises ConfigError for an interval that the server would refuse."""
    if not math.isfinite(seconds) or not MIN_INTERVAL <= seconds <= MAX_INTERVAL:
        least, most = MIN_INTERVAL, MAX_INTERVAL
        raise ConfigError(f"The interval {seconds:g} must be from {least:g} to {most:g} seconds")
    return seconds


def checked_level(level: str) -> str:
    """Raises ConfigError for an unknown log level."""
    if level.upper() not in LEVELS:
        raise ConfigError(f"The log level {level!r} must be one of {', '.join(LEVELS)}")
    return level.upper()


def default_name() -> str:
    """The host's name, which distinguishes this runner from others on the server."""
    return socket.gethostname() or "runner"


def default_state(name: str | None) -> Path:
    """Return the state file's path in the folder of systemd, root or the user, with the runner's name in it."""
    file = f"runner-{_plain(name)}.json" if name else "runner.json"
    return state_folder() / file


def state_folder() -> Path:
    if os.environ.get("STATE_DIRECTORY"):
        return Path(os.environ["STATE_DIRECTORY"].split(":")[0])
    if os.geteuid() == 0:
        return Path("/var/lib/clevagent")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "clevagent"


def value(table: Mapping[str, Any], key: str, kind: type, default: Any, where: str = "") -> Any:
    """Return a value of the table, or the default. Raises ConfigError if its type is wrong."""
    setting = table.get(key, default)
    wanted: tuple[type, ...] = (int, float) if kind is float else (kind,)
    if setting is default or (isinstance(setting, wanted) and (kind is bool or not isinstance(setting, bool))):
        return setting
    raise ConfigError(f"{where}{key} = {setting!r} must be {KINDS[kind]}")


def _target(table: Mapping[str, Any], everywhere: Mapping[str, bool]) -> Target:
    where = f"[[targets]] {table.get('target') or table.get('agent') or ''}: "
    kind, name = value(table, "type", str, "", where), value(table, "target", str, "", where)
    if not kind:
        raise ConfigError(f"{where}type is missing; write one of {', '.join(backends.BY_KIND)}")
    options = {key: each for key, each in table.items() if key not in TARGET_KEYS}
    known = getattr(backends.of(kind), "OPTIONS", ())
    unknown = [key for key in options if key not in known]
    if unknown:
        raise ConfigError(f"{where}{unknown[0]!r} is unknown; use one of {', '.join((*TARGET_KEYS, *known))}")
    return make_target(
        kind,
        name,
        value(table, "agent", str, None, where),
        labels=_labels(value(table, "labels", dict, {}, where), where),
        **{name: value(table, name, bool, default, where) for name, default in everywhere.items()},
        progress_timeout=_progress_timeout(value(table, "progress_timeout", float, None, where), where),
        probe=value(table, "probe", dict, None, where),
        options=options,
    )


def _labels(labels: Mapping[str, Any], where: str) -> dict[str, str]:
    if not all(isinstance(text, str) for text in labels.values()):
        raise ConfigError(f'{where}labels must be strings, such as labels = {{ team = "research" }}')
    # The server would leave them out of every heartbeat.
    if len(labels) > MAX_LABELS:
        raise ConfigError(f"{where}an agent has at most {MAX_LABELS} labels, not {len(labels)}")
    for name, text in labels.items():
        if not name or len(name) > MAX_LABEL_NAME_LENGTH or len(text) > MAX_NAME_LENGTH:
            limits = f"a name of 1 to {MAX_LABEL_NAME_LENGTH} and a value of at most {MAX_NAME_LENGTH} characters"
            raise ConfigError(f"{where}the label {name[:MAX_LABEL_NAME_LENGTH]!r} must have {limits}")
    return dict(labels)


def _progress_timeout(seconds: float | None, where: str) -> float | None:
    if seconds is not None and not MIN_PROGRESS_TIMEOUT <= seconds <= MAX_DURATION:
        limits = f"from {MIN_PROGRESS_TIMEOUT:g} to {MAX_DURATION:,.0f} seconds"
        raise ConfigError(f"{where}progress_timeout = {seconds} must be {limits}")
    return seconds


def _refuse_key(data: Mapping[str, Any], path: Path) -> None:
    if "api_key" in data:
        raise ConfigError(f"--config {path}: move the key to a file with mode 0600 and set api_key_file")


def _toml() -> Any:
    for module in ("tomllib", "tomli"):
        try:
            return importlib.import_module(module)
        except ImportError:
            continue
    raise ConfigError("--config needs Python 3.11, or the tomli package (pip install tomli). Or use --watch instead.")


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
