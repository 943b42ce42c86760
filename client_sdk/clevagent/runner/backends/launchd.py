"""launchd jobs: `gui/UID/LABEL`, `user/UID/LABEL`, `system/LABEL`, or the bare LABEL.

For root a bare label means the system's job, otherwise one of the user's session. The output of `launchctl print` is
for people, so only the few lines that have long been stable are read; anything else is "unknown".
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..program import ProgramResult, run
from ..target import Target
from .base import Evidence, Observation, Outcome, State

KIND = "launchd"
OPTIONS = ("plist",)
DOMAIN = re.compile(r"(gui/\d+|user/\d+|system)/(.+)")
LABEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*")
# launchctl's exit code for a service that is not loaded.
NOT_FOUND = 113
SIGNAL = "last terminating signal"
LINE = re.compile(rf"^\t(state|pid|last exit code|{SIGNAL}|runs|path) = (.*)$", re.MULTILINE)
EVIDENCE = {
    "state": "state",
    "pid": "pid",
    "last exit code": "last_exit_code",
    SIGNAL: "last_terminating_signal",
    "runs": "runs",
}
# Where plists are kept; see launchd.plist(5).
FOLDERS = ("~/Library/LaunchAgents", "/Library/LaunchAgents", "/Library/LaunchDaemons")
CHECK_TIMEOUT = 5.0
# Finished, or ended by SIGINT or SIGTERM in the program's own way; or not started yet, as before its first interval.
CLEAN = ("0", "130", "143", "(never exited)")
# SIGINT and SIGTERM, as `launchctl stop` sends; SIGKILL, as it does when that does not help, or as anybody may.
ASKED, KILLED = (": 2", ": 15"), ": 9"
MAX_TEXT_LENGTH = 200


def validation_error(target: Target) -> str:
    """Return what is wrong with the label, or ""."""
    match = DOMAIN.fullmatch(_service(target))
    if match is None or not LABEL.fullmatch(match.group(2)):
        return f"{target}: write launchd:LABEL, launchd:gui/UID/LABEL or launchd:system/LABEL"
    return "" if isinstance(target.options.get("plist", ""), str) else f"{target}: plist must be a path"


def check(target: Target, timeout: float) -> Observation:
    """Interpret `launchctl print`."""
    ran = run(("launchctl", "print", _service(target)), timeout)
    if ran.code == NOT_FOUND:
        return _not_loaded(target)
    if not ran.ok:
        return Observation(State.UNKNOWN, why=_said(ran))
    fields = {name: text.strip()[:MAX_TEXT_LENGTH] for name, text in reversed(LINE.findall(ran.output))}
    evidence: Evidence = {EVIDENCE[name]: _plain(fields[name]) for name in EVIDENCE if name in fields}
    state = fields.get("state", "")
    if state == "running":
        return Observation(State.RUNNING, evidence)
    if state not in ("not running", "waiting"):
        return Observation(State.UNKNOWN, evidence, f"launchd says {state or 'no state'}")
    code, by = fields.get("last exit code", ""), fields.get(SIGNAL, "")
    why = f"launchd says {state}" + (f", ended by {by}" if by else f", last exit code {code}" if code else "")
    ended = by.endswith(ASKED) if by else code in CLEAN
    return Observation(
        State.STOPPED, evidence, why, ended=ended, doubtful=by.endswith(KILLED), run=fields.get("runs", "")
    )


def restart(target: Target, timeout: float) -> Outcome:
    """Kill and start the job. Load it first if it is not loaded, as after a stop."""
    service = _service(target)
    if run(("launchctl", "print", service), min(CHECK_TIMEOUT, timeout)).code == NOT_FOUND:
        plist = _plist(target)
        if plist is None:
            return Outcome(False, f"{service} is not loaded and its plist is unknown; set plist in the TOML file")
        ran = run(("launchctl", "bootstrap", service.rpartition("/")[0], str(plist)), timeout)
        if not ran.ok:
            return Outcome(False, _said(ran))
    ran = run(("launchctl", "kickstart", "-k", service), timeout)
    return Outcome(True, f"launchctl restarted {service}") if ran.ok else Outcome(False, _said(ran))


def stop(target: Target, timeout: float) -> Outcome:
    """Unload the job. If it were only killed, its KeepAlive would start it again."""
    service = _service(target)
    if _plist(target) is None:
        message = f"{service} was not stopped: its plist is unknown, so it could not be loaded again"
        return Outcome(False, f"{message}; set plist in the TOML file")
    ran = run(("launchctl", "bootout", service), timeout)
    if ran.ok or ran.code == NOT_FOUND:
        return Outcome(True, f"launchctl unloaded {service}")
    return Outcome(False, _said(ran))


def _service(target: Target) -> str:
    if DOMAIN.fullmatch(target.name):
        return target.name
    return f"system/{target.name}" if os.geteuid() == 0 else f"gui/{os.getuid()}/{target.name}"


def _plist(target: Target) -> Path | None:
    label = _service(target).rpartition("/")[2]
    places = [target.options["plist"]] if target.options.get("plist") else [f"{each}/{label}.plist" for each in FOLDERS]
    return next((path for path in (Path(place).expanduser() for place in places) if path.exists()), None)


def _not_loaded(target: Target) -> Observation:
    plist = _plist(target)
    if plist is None:
        return Observation(State.UNKNOWN, why=f"launchd has no {_service(target)}", missing=True)
    return Observation(State.STOPPED, why=f"{plist} is not loaded: someone unloaded it", ended=True)


def _plain(text: str) -> str | int:
    return int(text) if text.isdigit() else text


def _said(ran: ProgramResult) -> str:
    return ran.why if ran.code is None else f"launchctl: {ran.why}"
