"""Runs one program to its end, or ends it: never through a shell, never for longer than allowed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

# A killed program that the kernel does not let go (a dead disk) is left to it after so many seconds.
LET_GO_AFTER = 1.0
MAX_TEXT_LENGTH = 300
# Messages are matched and shown, so they come in one language and without colours.
PLAIN = {"LC_ALL": "C", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": "", "PAGER": "cat"}


@dataclass(frozen=True)
class Ran:
    """`code` is None when the program could not be started or did not end in time; then `error` says so."""

    code: int | None
    output: str
    error: str

    @property
    def ok(self) -> bool:
        return self.code == 0

    @property
    def why(self) -> str:
        """The program's own words about what went wrong, on one line."""
        said = " ".join((self.error or self.output).split())[:MAX_TEXT_LENGTH]
        return said or f"exit code {self.code}"


def run(arguments: Sequence[str], timeout: float) -> Ran:
    """Run it with this environment, without input. `timeout` is in seconds; past it, it and its children are killed."""
    try:
        process = subprocess.Popen(
            list(arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **PLAIN},
            start_new_session=True,
        )
    except OSError as error:
        return Ran(None, "", f"{arguments[0]} could not be started: {error.strerror or error}")
    try:
        output, said = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        _end(process)
        return Ran(None, "", f"{arguments[0]} did not answer within {timeout:g} s")
    return Ran(process.returncode, output.decode(errors="replace"), said.decode(errors="replace"))


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(LET_GO_AFTER)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
