"""Docker containers over the Engine API: `NAME`, or `label:KEY=VALUE` for every container with the label.

A name can move to another container, an id cannot. So a restart or stop acts on the container that the last check found
under the name, and on no other. A new container is checked and reported first.

Options: `socket` (a path; default DOCKER_HOST, then /var/run/docker.sock) and `grace` (seconds from SIGTERM to SIGKILL;
default: the container's own, then 10). Podman and rootless Docker have the same API. Write access to the socket means
root on that machine; the runner only needs GET /containers and /events, and POST of restart and stop, which a proxy can
enforce.
"""

from __future__ import annotations

import dataclasses
import errno
import http.client
import json
import os
import re
import signal
import socket
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from ..target import Target, agent_of
from .base import LINES, Evidence, Observation, Outcome, State
from .rest import MAX_TEXT_LENGTH, Reply, ask

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
LABEL = "label:"
# A container's label that names its agent.
AGENT_LABEL = "clevagent.agent"
SOCKET = "/var/run/docker.sock"
STATES = {"running": State.RUNNING, "exited": State.STOPPED, "dead": State.STOPPED, "created": State.STOPPED}
# Neither running nor stopped.
TRANSITIONS = {"paused": "; docker unpause resumes it", "restarting": " it under its restart policy"}
# Finished, or ended by SIGINT or SIGTERM, which systemd considers a clean exit too.
CLEAN = (0, 130, 143)
# Ended by SIGKILL.
KILLED = 137
# What `docker stop` sends unless the container names another signal.
STOP_SIGNAL = "SIGTERM"
# Docker's default, in seconds.
GRACE = 10
# Seconds of an action's timeout reserved for Docker's own work.
ACTION_MARGIN = 5
TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)")
# How Docker writes "never".
ZERO_TIME = "0001-01-01"


class Docker:
    """Remembers which container the last check found under each name."""

    KIND = "docker"
    OPTIONS = ("socket", "grace")

    def __init__(self) -> None:
        self._seen: dict[str, Container] = {}

    def validation_error(self, target: Target) -> str:
        grace = target.options.get("grace", GRACE)
        if not _socket(target):
            wrong = "only Unix sockets are supported: set DOCKER_HOST=unix:///PATH, or the option socket"
        elif not isinstance(grace, (int, float)) or not 0 <= grace <= 600:
            wrong = "grace must be from 0 to 600 seconds"
        elif self.selects(target):
            wrong = "" if _label(target).partition("=")[0] else "write docker:label:KEY=VALUE"
        else:
            wrong = "" if NAME.fullmatch(target.name) else "not a container name; write docker:NAME"
        return f"{target}: {wrong}" if wrong else ""

    def check(self, target: Target, timeout: float) -> Observation:
        engine = Engine(target, timeout)
        reply = engine.ask("GET", f"/containers/{quote(target.name)}/json")
        container = Container(reply.fields)
        if reply.status == 404 or (reply.accepted and not container.carries(target.options.get("label"))):
            self._seen.pop(target.name, None)
            return Observation(State.UNKNOWN, why=f"Docker has no container {target.name}", missing=True)
        if not reply.accepted or not container.id:
            return Observation(State.UNKNOWN, why=engine.problem(reply))
        self._seen[target.name] = container
        ended, doubtful = _is_ended(container, engine)
        why = container.why(ended=ended, doubtful=doubtful)
        run = f"{container.id} {container.started}"
        return Observation(container.state, container.evidence(), why, ended=ended, doubtful=doubtful, run=run)

    def restart(self, target: Target, timeout: float) -> Outcome:
        done = self._act("restart", target, timeout)
        if not done.ok:
            return done
        seen = self.check(target, ACTION_MARGIN)
        if seen.state is State.STOPPED:
            return Outcome(False, f"restarted {target.name}, but it is not running: {seen.why}")
        return done

    def stop(self, target: Target, timeout: float) -> Outcome:
        return self._act("stop", target, timeout)

    def last_lines(self, target: Target, timeout: float) -> str:
        query = {"stdout": 1, "stderr": 1, "tail": LINES}
        reply = Engine(target, timeout).ask("GET", f"/containers/{quote(target.name)}/logs", query)
        return _unframed(reply.text).decode(errors="replace") if reply.accepted else ""

    def selects(self, target: Target) -> bool:
        return target.name.startswith(LABEL)

    def find(self, target: Target, timeout: float) -> Sequence[Target] | None:
        label = _label(target)
        query = {"all": 1, "filters": json.dumps({"label": [label]})}
        reply = Engine(target, timeout).ask("GET", "/containers/json", query)
        if not reply.accepted or not isinstance(reply.body, list):
            return None
        labels = {name: item.get("Labels") or {} for item in reply.body if (name := _name(item))}
        agents = _agents(labels)
        options = {**target.options, "label": label}
        return [dataclasses.replace(target, name=name, agent=agents[name], options=options) for name in sorted(labels)]

    def _act(self, action: str, target: Target, timeout: float) -> Outcome:
        seen = self._seen.get(target.name)
        if seen is None:
            return Outcome(False, f"no container {target.name} has been seen yet, so nothing was done")
        grace = target.options.get("grace", seen.grace)
        seconds = max(0, min(int(grace), int(timeout) - ACTION_MARGIN))
        engine = Engine(target, timeout)
        reply = engine.ask("POST", f"/containers/{seen.id}/{action}", {"t": seconds})
        if reply.status == 404:
            return Outcome(False, f"container {seen.short_id} is gone; the new container {target.name} was not touched")
        if reply.accepted or reply.status == 304:
            done = {"restart": "restarted", "stop": "stopped"}[action]
            return Outcome(True, f"Docker {done} {target.name} ({seen.short_id})")
        return Outcome(False, engine.problem(reply))


class Container:
    """The result of an inspection. Any field may be missing."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._found = data
        self._state = _object(data, "State")
        self._config = _object(data, "Config")

    @property
    def id(self) -> str:
        return str(self._found.get("Id") or "")

    @property
    def short_id(self) -> str:
        return self.id[:12]

    @property
    def status(self) -> str:
        return str(self._state.get("Status") or "")

    @property
    def state(self) -> State:
        return STATES.get(self.status, State.UNKNOWN)

    @property
    def exit_code(self) -> int | None:
        return self._state.get("ExitCode") if self.status == "exited" else None

    @property
    def health(self) -> str:
        return str(_object(self._state, "Health").get("Status") or "")

    @property
    def started(self) -> str:
        """Unix seconds in full precision, because a stop and the next start can be within one second."""
        match = TIME.fullmatch(str(self._state.get("StartedAt")))
        if not match:
            return "0"
        second, fraction, zone = match.groups()
        whole = datetime.fromisoformat(second + ("+00:00" if zone == "Z" else zone)).timestamp()
        return f"{whole:.0f}{fraction or ''}"

    @property
    def grace(self) -> int:
        return int(self._config.get("StopTimeout") or GRACE)

    @property
    def was_never_started(self) -> bool:
        return self.status == "created" and not self._state.get("ExitCode")

    @property
    def ending_signals(self) -> tuple[int, ...]:
        """Those by which somebody ends it. Then Docker, too, considers it stopped by hand: it does not restart it."""
        named = str(self._config.get("StopSignal") or STOP_SIGNAL).upper()
        asks = int(named) if named.isdigit() else getattr(signal, f"SIG{named.removeprefix('SIG')}", signal.SIGTERM)
        return int(asks), int(signal.SIGKILL)

    def carries(self, label: str | None) -> bool:
        """Whether it has the label, written as KEY or KEY=VALUE."""
        if not label:
            return True
        key, equals, value = label.partition("=")
        labels = _object(self._config, "Labels")
        return key in labels and (not equals or labels[key] == value)

    def evidence(self) -> Evidence:
        ends = {"FinishedAt": self._state.get("FinishedAt")} if self.state is State.STOPPED else {}
        facts = {
            "Id": self.short_id,
            "Status": self.status,
            "Health": self.health,
            "OOMKilled": self._state.get("OOMKilled") or None,
            "ExitCode": self.exit_code,
            "RestartCount": self._found.get("RestartCount"),
            "StartedAt": self._state.get("StartedAt"),
            "Error": str(self._state.get("Error") or "")[:MAX_TEXT_LENGTH],
            **ends,
        }
        return {name: fact for name, fact in facts.items() if fact is not None and not _is_nothing(fact)}

    @property
    def was_killed(self) -> bool:
        """Whether SIGKILL ended it, but not for its memory: `docker stop` after its grace period, or somebody."""
        return self.exit_code == KILLED and not self._state.get("OOMKilled")

    def why(self, *, ended: bool, doubtful: bool = False) -> str:
        """Return a phrase such as "Docker says exited (code 137, out of memory), restarted 3 times"."""
        if self.state is State.RUNNING:
            return "its health check is failing" if self.health == "unhealthy" else ""
        text = f"Docker says {self.status or 'no state'}{TRANSITIONS.get(self.status, '')}"
        details = [] if self.exit_code is None else [f"code {self.exit_code}"]
        details += ["out of memory"] if self._state.get("OOMKilled") else []
        text += f" ({', '.join(details)})" if details else ""
        if ended:
            text += ": it was never started" if self.was_never_started else ": stopped by someone, or finished"
        text += "; Docker no longer knows whether someone stopped it" if doubtful else ""
        times = self._found.get("RestartCount") or 0
        return f"{text}, restarted {'once' if times == 1 else f'{times} times'}" if times else text


class Engine:
    """The Engine API, without a version in the path, so that it answers in its newest."""

    def __init__(self, target: Target, timeout: float) -> None:
        self._path, self._timeout = _socket(target), timeout

    def ask(self, method: str, path: str, query: Mapping[str, Any] | None = None) -> Reply:
        return ask(_Unix(self._path, self._timeout), method, f"{path}?{urlencode(query or {})}")

    def has_event(self, container: Container, event: str) -> bool:
        """Whether it had such an event since its start."""
        return bool(self._events(container, event))

    def was_sent(self, container: Container, signals: Sequence[int]) -> bool:
        """Whether somebody had Docker send it one of these signals, as `docker kill` does."""
        sent = [_object(_object(event, "Actor"), "Attributes") for event in self._events(container, "kill")]
        return any(str(attributes.get("signal")) in map(str, signals) for attributes in sent)

    def _events(self, container: Container, event: str) -> list[Mapping[str, Any]]:
        """Docker keeps only the last 256 events, and none over its own restart."""
        filters = {"container": [container.id], "event": [event]}
        query = {"since": container.started, "until": f"{time.time():.6f}", "filters": json.dumps(filters)}
        reply = self.ask("GET", "/events", query)
        return [_parsed(line) for line in reply.text.splitlines() if line.strip()] if reply.accepted else []

    def problem(self, reply: Reply) -> str:
        """Return what went wrong and, if known, how to fix it."""
        if reply.status == 403:
            return f"Docker refuses: {reply.problem}; allow this request in the proxy in front of its socket"
        if reply.status:
            return f"Docker answered: {reply.problem}"
        remedy = "; add the runner's user to the socket's group" if reply.problem == os.strerror(errno.EACCES) else ""
        return f"Docker cannot be reached at {self._path}: {reply.problem}{remedy}"


class _Unix(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _unframed(output: bytes) -> bytes:
    """Return a log without its frames: a byte for the stream, three zeros, and the length. A terminal has none."""
    parts, at = [], 0
    while output[at : at + 4] in (b"\1\0\0\0", b"\2\0\0\0"):
        end = at + 8 + int.from_bytes(output[at + 4 : at + 8], "big")
        parts.append(output[at + 8 : end])
        at = end
    return b"".join(parts) if parts else output


def _is_ended(container: Container, engine: Engine) -> tuple[bool, bool]:
    """Return whether it ended on purpose, and whether Docker has forgotten how it ended."""
    if container.state is not State.STOPPED:
        return False, False
    if container.exit_code in CLEAN or container.was_never_started or engine.has_event(container, "stop"):
        return True, False
    if engine.was_sent(container, container.ending_signals):
        return True, False
    return False, container.was_killed and not engine.has_event(container, "die")


def _socket(target: Target) -> str:
    """Return the socket's path, or "" if only a network address is configured."""
    named = str(target.options.get("socket") or os.environ.get("DOCKER_HOST") or SOCKET)
    path = named[len("unix://") :] if named.startswith("unix://") else named
    return path if path.startswith("/") else ""


def _label(target: Target) -> str:
    return target.name[len(LABEL) :]


def _name(item: Any) -> str:
    """Return a listed container's own name; its other names are network aliases."""
    names = item.get("Names") or [] if isinstance(item, dict) else []
    return next((str(name)[1:] for name in names if str(name).count("/") == 1), "")


def _agents(labels: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return each container's agent: from its label, or if several share that label value, from its own name."""
    asked = Counter(container.get(AGENT_LABEL) for container in labels.values())
    only = {
        name: carried.get(AGENT_LABEL, "") for name, carried in labels.items() if asked[carried.get(AGENT_LABEL)] == 1
    }
    return {name: only.get(name) or agent_of(name) for name in labels}


def _parsed(line: bytes) -> Mapping[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


def _object(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    inner = data.get(name)
    return inner if isinstance(inner, dict) else {}


def _is_nothing(fact: Any) -> bool:
    return fact == "" or str(fact).startswith(ZERO_TIME)


BACKEND = Docker()
