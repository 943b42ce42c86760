"""`check` and `start --dry-run`: test the setup without changing anything."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from clevagent.transport import Answer, Transport, UnreachableError, exposure, key_hint

from . import backends
from .backends.base import Observation, PermissionChecker, State
from .config import Settings
from .server import REQUEST_TIMEOUT
from .status_report import status_report
from .supervise import find, is_selection, look, probe_of
from .target import Target
from .terminal import say

# Seconds. The server does not judge by client times, so only a difference that confuses people matters.
MAX_SKEW = 30.0


@dataclass(frozen=True)
class Line:
    """One line of output. `ok=None` marks information that is not a problem."""

    ok: bool | None
    about: str
    text: str

    def __str__(self) -> str:
        mark = {True: "ok  ", False: "FAIL", None: "note"}[self.ok]
        return f"{mark}  {self.about}: {self.text}"


def check(settings: Settings) -> int:
    """Print all results. Return 1 if there is a problem."""
    lines = [*_server(settings), *(line for target in settings.targets for line in _target(target))]
    say("\n".join(map(str, lines)))
    return 1 if any(line.ok is False for line in lines) else 0


def dry_run(settings: Settings) -> int:
    """Print what would be reported for each target; send, start and restart nothing."""
    for target in settings.targets:
        for each in (find(target) or []) if is_selection(target) else [target]:
            say(json.dumps(_report(each), ensure_ascii=False))
    return 0


def _report(target: Target) -> dict[str, Any]:
    seen = look(target)
    status = status_report(seen)
    report = {"agent": target.agent, "target": str(target), "state": seen.state.value, "status": status.status}
    down = target.restart_on_down and seen.state is State.STOPPED and not seen.ended
    more = {"message": status.message, "evidence": seen.evidence, "would_restart": down}
    return {**report, **{name: value for name, value in more.items() if value}}


def _server(settings: Settings) -> list[Line]:
    transport = Transport(
        settings.endpoint, settings.api_key, timeout=REQUEST_TIMEOUT, headers={"X-ClevAgent-Runner": settings.name}
    )
    try:
        answer = transport.request("GET", "/status?limit=1")
    except UnreachableError as error:
        text = f"{settings.endpoint} cannot be reached ({error}); start the server or fix --endpoint"
        return [Line(False, "server", text)]
    finally:
        transport.close()
    exposed = exposure(settings.endpoint)
    notes = [Line(None, "server", exposed)] if exposed else []
    return [
        Line(True, "server", f"{settings.endpoint} answers"),
        *notes,
        _key(answer, settings.api_key),
        *_clock(answer),
    ]


def _key(answer: Answer, key: str) -> Line:
    if answer.accepted:
        return Line(True, "key", "valid")
    if answer.status in (401, 403):
        return Line(False, "key", f"refused ({answer.why}); create a new one under Team → Keys.{key_hint(key)}")
    return Line(False, "server", f"answered with {answer.why}")


def _clock(answer: Answer) -> list[Line]:
    if answer.served_at is None:
        return [Line(None, "clock", "the server did not send its time")]
    skew = time.time() - answer.served_at
    if abs(skew) <= MAX_SKEW:
        return [Line(True, "clock", "agrees with the server's")]
    way = "ahead of" if skew > 0 else "behind"
    return [Line(False, "clock", f"{abs(skew):.0f} s {way} the server's; synchronize both with NTP")]


def _target(target: Target) -> list[Line]:
    if is_selection(target):
        return _selection(target)
    seen = look(target)
    return [_seen(target, seen), *_permission(target), *_probe(target)]


def _selection(target: Target) -> list[Line]:
    targets = find(target)
    if targets is None:
        return [Line(False, str(target), "could not be listed")]
    lines = [line for each in targets for line in _target(each)]
    return [Line(True if targets else None, str(target), f"selects {len(targets)}"), *lines]


def _seen(target: Target, seen: Observation) -> Line:
    ok = {State.RUNNING: True, State.STOPPED: None, State.UNKNOWN: False}[seen.state]
    text = f"{seen.state.value}, reports as {target.agent}" + (f": {seen.why}" if seen.why else "")
    return Line(ok, str(target), text)


def _permission(target: Target) -> list[Line]:
    backend = backends.of(target.type)
    why = backend.missing_permission(target, REQUEST_TIMEOUT) if isinstance(backend, PermissionChecker) else ""
    return [Line(False, str(target), why)] if why else []


def _probe(target: Target) -> list[Line]:
    probe = probe_of(target)
    if probe is None:
        return []
    probe.look(time.time())
    moved, shown = probe.look(time.time())
    word = {True: "progress", False: "no progress within a moment", None: "cannot tell yet"}[moved]
    return [Line(None, f"{target} probe", f"{word} {shown or ''}".rstrip())]
