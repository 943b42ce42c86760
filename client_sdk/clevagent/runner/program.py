"""Runs a program with a time limit and without a shell."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass

# Seconds to wait for a killed program; one stuck in the kernel, for example on a dead disk, is abandoned.
KILL_WAIT = 1.0
MAX_TEXT_LENGTH = 300
# Messages are matched and displayed, so they must be English and without colours.
# The runner's key is for nobody else: not for what it starts, and not for the plug-ins of docker or kubectl.
KEYS = ("CLEVAGENT_API_KEY", "CLEVAGENT_API_KEY_FILE")
PLAIN = {"LC_ALL": "C", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": "", "PAGER": "cat"}


@dataclass(frozen=True)
class ProgramResult:
    """`code` is None if the program did not start or did not end in time; `error` then says so."""

    code: int | None
    output: str
    error: str

    @property
    def ok(self) -> bool:
        return self.code == 0

    @property
    def why(self) -> str:
        """The program's error message, on one line."""
        message = " ".join((self.error or self.output).split())[:MAX_TEXT_LENGTH]
        return message or f"exit code {self.code}"


def environment_without(names: Collection[str]) -> dict[str, str]:
    """Return this process's environment without these variables."""
    return {name: text for name, text in os.environ.items() if name not in names}


def run(arguments: Sequence[str], timeout: float) -> ProgramResult:
    """Run a program without input. After `timeout` seconds it is killed, along with its children."""
    try:
        process = subprocess.Popen(
            list(arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**environment_without(KEYS), **PLAIN},
            start_new_session=True,
        )
    except OSError as error:
        return ProgramResult(None, "", f"{arguments[0]} could not be started: {error.strerror or error}")
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        _end(process)
        return ProgramResult(None, "", f"{arguments[0]} did not answer within {timeout:g} s")
    return ProgramResult(process.returncode, output.decode(errors="replace"), errors.decode(errors="replace"))


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(KILL_WAIT)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
