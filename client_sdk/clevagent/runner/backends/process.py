"""Plain processes: a PID file (a path that starts with `/` or `~`), or an exact command line.

The runner can only restart or stop processes that it started itself, from `command` in the TOML file: it does not know
how to start others. A process is identified by its pid and start time, because pids are reused.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .. import processes
from ..private import append_private, open_private
from ..processes import Process
from ..program import KEYS, environment_without
from ..target import Target
from .base import LINES, Evidence, Observation, Outcome, State

log = logging.getLogger(__name__)

KIND = "process"
OPTIONS = ("command", "cwd", "env", "log", "stop_within")
# Seconds. A process writes its PID file after its start, and file systems and clocks have different resolutions.
FILE_SLACK = 2.0
# Seconds from SIGTERM to SIGKILL; the defaults of systemd and Docker are 90 and 10.
STOP_TIMEOUT = 15.0
# Seconds. A process that exits earlier has failed to start.
SETTLE_TIME = 1.0
POLL_PAUSE = 0.05
# Bytes of the end of a log in which its last lines are looked for.
TAIL = 16_384
CHECK_TIMEOUT = 5.0
# Finished, or ended by SIGINT or SIGTERM, which systemd considers a clean exit too.
CLEAN = (0, -signal.SIGINT, -signal.SIGTERM, 130, 143)


class Processes:
    """Tracks the processes this runner started, and stores them in `folder` for the next runner."""

    KIND = KIND
    OPTIONS = OPTIONS

    def __init__(self) -> None:
        self.folder = Path("/nonexistent")
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._ended: dict[str, int] = {}

    def validation_error(self, target: Target) -> str:
        """Return what is wrong with the options, or ""."""
        command = target.options.get("command")
        if command is not None and not _is_texts(command):
            return f'{target}: command must be a list of strings, such as command = ["python3", "agent.py"]'
        if target.options and command is None:
            return f"{target}: {', '.join(target.options)} requires command"
        env = target.options.get("env", {})
        if not isinstance(env, dict) or not all(isinstance(text, str) for text in env.values()):
            return f"{target}: env must be a table of strings"
        wait = target.options.get("stop_within", STOP_TIMEOUT)
        if isinstance(wait, bool) or not isinstance(wait, (int, float)) or not 0 <= wait <= 600:
            return f"{target}: stop_within must be from 0 to 600 seconds"
        wrong = next((key for key in ("cwd", "log") if not isinstance(target.options.get(key, ""), str)), None)
        return f"{target}: {wrong} must be a path" if wrong else ""

    def start_if_needed(self, target: Target) -> None:
        """Start it if the runner is responsible for it and it is not running yet."""
        if "command" in target.options and self._own(target) is None:
            outcome = self.restart(target, SETTLE_TIME)
            log.log(logging.INFO if outcome.ok else logging.ERROR, "%s: %s", target, outcome.message)

    def check(self, target: Target, timeout: float) -> Observation:
        """Check whether it is running, by pid and start time."""
        try:
            if "command" in target.options:
                return self._check_own(target)
            if target.name.startswith(("/", "~")):
                return _check_file(Path(target.name).expanduser(), timeout)
            return _check_command(target.name, timeout)
        except OSError as error:
            return Observation(State.UNKNOWN, why=f"processes cannot be seen: {error.strerror or error}")

    def restart(self, target: Target, timeout: float) -> Outcome:
        """End the running process, if any, and start it again."""
        if "command" not in target.options:
            return Outcome(False, _not_started_here(target))
        stopped = self._end(target, timeout)
        return self._start(target) if stopped.ok else stopped

    def stop(self, target: Target, timeout: float) -> Outcome:
        """Send SIGTERM to the process group, then SIGKILL if it does not exit."""
        if "command" not in target.options:
            return Outcome(False, _not_started_here(target))
        return self._end(target, timeout)

    def last_lines(self, target: Target, timeout: float) -> str:
        """Return the end of the file that `log` names."""
        if not target.options.get("log"):
            return ""
        with Path(target.options["log"]).expanduser().open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            return "\n".join(file.read(TAIL).decode(errors="replace").splitlines()[-LINES:])

    def missing_permission(self, target: Target, timeout: float) -> str:
        """The runner can only restart what it starts itself."""
        return "" if "command" in target.options else _not_started_here(target)

    def _check_own(self, target: Target) -> Observation:
        process = self._own(target)
        if process is not None:
            return Observation(State.RUNNING, _evidence(process))
        code = self._ended.get(str(target))
        if code is None:
            pid, _ = self._kept(target)
            why = "it ended; only the runner that started it could know how" if pid else "it is not running"
            return Observation(State.STOPPED, why=why, doubtful=bool(pid))
        text = f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return Observation(State.STOPPED, {"ExitCode": code}, f"it {text}", ended=code in CLEAN)

    def _own(self, target: Target) -> Process | None:
        """Return the process that this runner or its predecessor started, or None if it is not running."""
        child = self._children.get(str(target))
        if child is None:
            pid, mark = self._kept(target)
            now = processes.find(pid, CHECK_TIMEOUT) if pid else None
            return now if now is not None and now.mark == mark else None
        now = processes.find(child.pid, CHECK_TIMEOUT)
        # Polled last: a child that ended during the look is reaped here and leaves no zombie.
        if child.poll() is None:
            return now
        self._ended[str(target)] = child.returncode
        return None

    def _start(self, target: Target) -> Outcome:
        options = target.options
        try:
            child = _popen(options)
        except (OSError, ValueError) as error:
            return Outcome(False, f"{options['command'][0]} could not be started: {error}")
        self._children[str(target)] = child
        self._ended.pop(str(target), None)
        self._keep(target, processes.find(child.pid, CHECK_TIMEOUT))
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(SETTLE_TIME)
            return Outcome(False, f"started, but exited immediately with code {child.returncode}")
        return Outcome(True, f"started as process {child.pid}")

    def _end(self, target: Target, timeout: float) -> Outcome:
        process = self._own(target)
        if process is None:
            return Outcome(True, "it was not running")
        patience = min(float(target.options.get("stop_within", STOP_TIMEOUT)), max(0.0, timeout - SETTLE_TIME))
        for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, SETTLE_TIME)):
            _signal(process.pid, number)
            if self._is_gone(target, seconds):
                self._file(target).unlink(missing_ok=True)
                return Outcome(True, f"process {process.pid} ended by {number.name}")
        return Outcome(False, f"process {process.pid} did not end, even after SIGKILL")

    def _is_gone(self, target: Target, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while self._own(target) is not None:
            if time.monotonic() >= end:
                return False
            time.sleep(POLL_PAUSE)
        return True

    def _file(self, target: Target) -> Path:
        plain = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in target.agent)
        return self.folder / f"process-{plain}.json"

    def _kept(self, target: Target) -> tuple[int, str]:
        try:
            stored = json.loads(self._file(target).read_text())
            return int(stored["pid"]), str(stored["mark"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0, ""

    def _keep(self, target: Target, process: Process | None) -> None:
        if process is None:
            return
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            beside = self._file(target).with_suffix(".new")
            with open_private(beside) as file:
                file.write(json.dumps({"pid": process.pid, "mark": process.mark}))
            beside.replace(self._file(target))
        except OSError as error:
            log.error("%s: its process id cannot be stored: %s", target, error)


def _popen(options: Mapping[str, Any]) -> subprocess.Popen[bytes]:
    """Start a process in its own session: Ctrl-C in the runner's terminal does not reach it, a stop reaches its
    children.
    """
    with contextlib.ExitStack() as stack:
        output: Any = subprocess.DEVNULL
        if options.get("log"):
            output = stack.enter_context(append_private(Path(options["log"]).expanduser()))
        return subprocess.Popen(
            options["command"],
            cwd=Path(options["cwd"]).expanduser() if options.get("cwd") else None,
            env={**_child_environment(), **options.get("env", {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _child_environment() -> dict[str, str]:
    """Return the environment without the runner's API key, which an agent must be given on purpose, and without its
    systemd variables, by which systemd would mistake the child for the runner.
    """
    ours = (
        *KEYS,
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "STATE_DIRECTORY",
        "CREDENTIALS_DIRECTORY",
        "JOURNAL_STREAM",
        "INVOCATION_ID",
    )
    return environment_without(ours)


def _check_file(path: Path, timeout: float) -> Observation:
    try:
        text, written = path.read_text(errors="replace").split(), path.stat().st_mtime
    except FileNotFoundError:
        return Observation(State.STOPPED, why=f"there is no PID file {path}")
    if not text or not text[0].isdigit():
        return Observation(State.UNKNOWN, why=f"{path} contains no process id")
    process = processes.find(int(text[0]), timeout)
    if process is None:
        return Observation(State.STOPPED, why=f"process {text[0]} of {path} has ended")
    if process.started > written + FILE_SLACK:
        why = (
            f"process {text[0]} of {path} has ended; another process has its id now (if it is the agent: touch {path})"
        )
        return Observation(State.STOPPED, why=why)
    return Observation(State.RUNNING, _evidence(process))


def _check_command(command: str, timeout: float) -> Observation:
    matches = [each for each in processes.every(timeout) if each.command == command]
    if not matches:
        return Observation(State.STOPPED, why="no process has this command line")
    more: Evidence = {"processes": len(matches)} if len(matches) > 1 else {}
    return Observation(State.RUNNING, {**_evidence(min(matches, key=lambda each: each.started)), **more})


def _evidence(process: Process) -> Evidence:
    return {"pid": process.pid, "started": datetime.fromtimestamp(process.started, timezone.utc).isoformat()}


def _signal(pid: int, number: signal.Signals) -> None:
    """Signal the process group, which has the same id, because the process started a session."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _is_texts(command: Any) -> bool:
    return isinstance(command, list) and bool(command) and all(isinstance(word, str) and word for word in command)


def _not_started_here(target: Target) -> str:
    return (
        f"{target.name} was not started by this runner, which cannot know how to start it again: set its command "
        "in the TOML file, or run it under systemd, launchd or Docker"
    )


BACKEND = Processes()
