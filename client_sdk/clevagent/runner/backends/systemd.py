"""systemd units: `NAME.service` of the system, `user/NAME.service` of the user's manager.

`systemctl show` with named properties has stable output. The environment is passed on, because `systemctl --user` finds
its manager through `XDG_RUNTIME_DIR`.
"""

from __future__ import annotations

import os
import re
import shutil

from ..program import ProgramResult, run
from ..target import Target
from .base import LINES, Evidence, Observation, Outcome, State

KIND = "systemd"
USER = "user/"
# Characters of a unit's name. A leading dash would be read as an option.
UNIT = re.compile(r"[A-Za-z0-9:_.\\][A-Za-z0-9:_.\\@-]*")
ENDINGS = (".service", ".socket", ".timer", ".mount", ".target", ".path", ".slice", ".scope", ".device", ".swap")
PROPERTIES = (
    "LoadState",
    "ActiveState",
    "SubState",
    "Result",
    "NRestarts",
    "ExecMainStatus",
    "StatusText",
    "MainPID",
    "ActiveEnterTimestamp",
    "WatchdogUSec",
    "WatchdogTimestamp",
)
EVIDENCE = PROPERTIES[1:]
# Not part of the evidence: what tells a stop from a failure, and one run from the next.
DECIDING = (
    "Restart",
    "ExecMainCode",
    "InvocationID",
    "NotifyAccess",
    "RuntimeMaxUSec",
    "ExecMainStartTimestampMonotonic",
    "ActiveExitTimestampMonotonic",
    "ExecMainExitTimestampMonotonic",
)
# Results for which `Restart=` of each value starts a unit again, unless someone stopped it; see systemd.service(5).
FAILURES = ("exit-code", "signal", "core-dump", "timeout", "watchdog", "oom-kill")
RESTARTS_AFTER = {
    "always": FAILURES,
    "on-failure": FAILURES,
    "on-abnormal": ("signal", "core-dump", "timeout", "watchdog", "oom-kill"),
    "on-abort": ("signal", "core-dump"),
    "on-watchdog": ("watchdog",),
}
# ExecMainCode and ExecMainStatus of programs that end on SIGINT or SIGTERM: in their own way, or by the signal, which
# systemd considers a failure of a `Type=oneshot` job.
EXITED, SIGNALLED = "1", "2"
ENDED = ((EXITED, "130"), (EXITED, "143"), (SIGNALLED, "2"), (SIGNALLED, "15"))
# Results of a unit that ends badly when it is asked to stop, and of one that took too long to.
BAD_ENDS, TIMED_OUT = ("exit-code", "signal", "core-dump"), "timeout"
NUMBERS = ("NRestarts", "ExecMainStatus", "MainPID")
NOTHING = ("", "0", "infinity", "[not set]")
MAX_TEXT_LENGTH = 200
STATES = {"active": State.RUNNING, "reloading": State.RUNNING, "inactive": State.STOPPED, "failed": State.STOPPED}
REFUSED = ("authentication required", "access denied", "not authorized", "permission denied")
# Seconds reserved for checking the result of a restart.
CHECK_TIMEOUT = 5.0


def validation_error(target: Target) -> str:
    unit = _unit(target)
    if not UNIT.fullmatch(unit):
        return f"{target}: {unit!r} is not a unit name; write systemd:NAME.service or systemd:user/NAME.service"
    if unit.endswith("@.service"):
        return f"{target}: a template needs an instance, such as {unit.replace('@.', '@1.')}"
    return ""


def check(target: Target, timeout: float) -> Observation:
    ran = _ask(target, ("show", "--no-pager", "-p", ",".join((*PROPERTIES, *DECIDING))), timeout)
    if not ran.ok:
        return Observation(State.UNKNOWN, why=_problem(target, ran))
    properties = dict(line.split("=", 1) for line in ran.output.splitlines() if "=" in line)
    load, active = properties.get("LoadState", ""), properties.get("ActiveState", "")
    if not active:
        return Observation(State.UNKNOWN, why="systemctl answered without ActiveState")
    evidence = _evidence(properties)
    if load == "not-found" and active == "inactive":
        return Observation(State.UNKNOWN, evidence, f"systemd has no unit {_unit(target)}", missing=True)
    if load == "masked" and active == "inactive":
        return Observation(State.STOPPED, evidence, "the unit is masked and cannot be started", ended=True)
    state = STATES.get(active, State.UNKNOWN)
    ended = _was_ended(properties)
    doubtful = not ended and _left_first(properties)
    run = properties.get("InvocationID", "")
    why = _why(properties, ended=ended) + ("; someone may have stopped it" if doubtful else "")
    return Observation(state, evidence, why, ended=ended, doubtful=doubtful, run=run)


def restart(target: Target, timeout: float) -> Outcome:
    # A unit at its start limit refuses to start until its failures are reset.
    if check(target, min(CHECK_TIMEOUT, timeout)).evidence.get("ActiveState") == "failed":
        _ask(target, ("reset-failed",), CHECK_TIMEOUT)
    ran = _ask(target, ("--no-ask-password", "restart"), timeout)
    if not ran.ok:
        return Outcome(False, _problem(target, ran))
    seen = check(target, CHECK_TIMEOUT)
    if seen.state is State.STOPPED:
        return Outcome(False, f"restarted {_unit(target)}, but it is not running: {seen.why}")
    return Outcome(True, f"systemctl restarted {_unit(target)}")


def stop(target: Target, timeout: float) -> Outcome:
    ran = _ask(target, ("--no-ask-password", "stop"), timeout)
    return Outcome(True, f"systemctl stopped {_unit(target)}") if ran.ok else Outcome(False, _problem(target, ran))


def last_lines(target: Target, timeout: float) -> str:
    """Not with `-u`, which includes systemd's own messages about the unit."""
    unit, is_user = _unit(target), target.name.startswith(USER)
    match = ("--user", f"_SYSTEMD_USER_UNIT={unit}") if is_user else (f"_SYSTEMD_UNIT={unit}",)
    ran = run(("journalctl", "--no-pager", "--quiet", "-n", str(LINES), "-o", "cat", *match), timeout)
    return ran.output if ran.ok else ""


def missing_permission(target: Target, timeout: float) -> str:
    """Return what prevents this runner from restarting the unit, as far as can be told without trying, or ""."""
    if target.name.startswith(USER) or os.geteuid() == 0:
        return ""
    if not shutil.which("pkcheck"):
        return f"cannot tell whether user {os.geteuid()} may restart it: pkcheck is not installed"
    action = ("--action-id", "org.freedesktop.systemd1.manage-units")
    details = ("--detail", "unit", _unit(target), "--detail", "verb", "restart")
    ran = run(("pkcheck", "--process", str(os.getpid()), *action, *details), timeout)
    return "" if ran.ok else _refused(target)


def _unit(target: Target) -> str:
    name = target.name[len(USER) :] if target.name.startswith(USER) else target.name
    return name if name.endswith(ENDINGS) else f"{name}.service"


def _ask(target: Target, arguments: tuple[str, ...], timeout: float) -> ProgramResult:
    manager = ("--user",) if target.name.startswith(USER) else ()
    return run(("systemctl", *manager, *arguments, "--", _unit(target)), timeout)


def _evidence(properties: dict[str, str]) -> Evidence:
    kept: Evidence = {}
    for name in EVIDENCE:
        text = properties.get(name, "")[:MAX_TEXT_LENGTH]
        if text not in NOTHING or (name == "NRestarts" and text):
            kept[name] = int(text) if name in NUMBERS and text.isdigit() else text
    return kept


def _was_ended(properties: dict[str, str]) -> bool:
    """Whether someone stopped it, or it finished. systemd says so only of a clean exit; otherwise it shows in that the
    unit left before its program, or that systemd has never started it again although `Restart=` asks for it. After
    restarts, it may be the start limit.
    """
    active, result = properties.get("ActiveState", ""), properties.get("Result", "success")
    if active == "inactive":
        return result == "success"
    if active != "failed":
        return False
    asked = (properties.get("ExecMainCode"), properties.get("ExecMainStatus")) in ENDED
    unrestarted = properties.get("NRestarts", "0") in NOTHING
    wanted = result in RESTARTS_AFTER.get(properties.get("Restart", ""), ())
    # A program may also say itself that it stops, and then end badly.
    is_silent = properties.get("NotifyAccess") == "none"
    return (
        (wanted and unrestarted)
        or (result in ("exit-code", "signal") and asked)
        or (is_silent and _left_first(properties))
    )


def _left_first(properties: dict[str, str]) -> bool:
    """Whether the unit left the state "active" before its program ended: on request, not because of its end."""
    times = [
        properties.get(f"{name}TimestampMonotonic", "") for name in ("ExecMainStart", "ActiveExit", "ExecMainExit")
    ]
    if properties.get("ActiveState") != "failed" or not all(text.isdigit() and int(text) for text in times):
        return False
    started, left, ended = map(int, times)
    # A unit that ran for its maximum is stopped by systemd, not by a person.
    is_limited = properties.get("RuntimeMaxUSec", "infinity") not in NOTHING
    result = properties.get("Result", "")
    is_bad_end = result in BAD_ENDS or (result == TIMED_OUT and not is_limited)
    return is_bad_end and started <= left < ended


def _why(properties: dict[str, str], *, ended: bool) -> str:
    """Return a phrase such as "systemd says failed (watchdog), restarted 3 times"."""
    active, result = properties["ActiveState"], properties.get("Result", "")
    if active in ("active", "reloading"):
        return ""
    if active in ("activating", "deactivating"):
        text = f"systemd says {active} ({properties.get('SubState', '')})"
    elif ended:
        text = f"systemd says {active}: stopped by someone, or finished"
    else:
        status = properties.get("ExecMainStatus", "0")
        text = f"systemd says {active} ({result}" + (f", status {status})" if status not in NOTHING else ")")
    times = properties.get("NRestarts", "0")
    if times in NOTHING:
        return text
    return f"{text}, restarted {'once' if times == '1' else times + ' times'}"


def _problem(target: Target, ran: ProgramResult) -> str:
    if any(sign in ran.why.lower() for sign in REFUSED):
        return _refused(target)
    if "Failed to connect to bus" in ran.why and target.name.startswith(USER):
        return f"{ran.why}; run as that user with XDG_RUNTIME_DIR set, after `loginctl enable-linger USER`"
    return ran.why if ran.code is None else f"systemctl: {ran.why}"


def _refused(target: Target) -> str:
    return (
        f"polkit does not let user {os.geteuid()} manage {_unit(target)}: add the rule in docs/runner.md, run the "
        "runner as root, or make it a user unit"
    )
