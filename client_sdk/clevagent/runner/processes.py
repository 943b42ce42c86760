"""Processes of this machine, identified by pid and start time, because pids are reused.

Reads /proc on Linux, and `ps` elsewhere.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .program import run

PROC = Path("/proc")
# Field positions in /proc/PID/stat, counted from the field after the name; see proc(5).
STATE_FIELD = 0
START_FIELD = 19
# ps prints the start time as five words, such as "Mon Nov 23 10:00:00 2026".
COLUMNS = "pid=,stat=,lstart=,args="
WORDS_BEFORE_ARGS = 7
LSTART = "%a %b %d %H:%M:%S %Y"


@dataclass(frozen=True)
class Process:
    """`mark` and `pid` together identify one process. `started` is in Unix seconds, accurate to about a second.

    `command` is its arguments joined by spaces.
    """

    pid: int
    mark: str
    started: float
    command: str


def find(pid: int, timeout: float) -> Process | None:
    """Return the running process with this pid, or None. Raises OSError if processes cannot be listed."""
    if not _has_proc():
        return next(_listed(("-p", str(pid)), timeout), None)
    return _from_proc(PROC / str(pid), _boot())


def every(timeout: float) -> list[Process]:
    """Return all running processes. Raises OSError if they cannot be listed."""
    if not _has_proc():
        return list(_listed(("-A",), timeout))
    boot = _boot()
    folders = [folder for folder in PROC.iterdir() if folder.name.isdigit()]
    return [process for folder in folders for process in [_from_proc(folder, boot)] if process is not None]


def _has_proc() -> bool:
    return (PROC / "self/stat").exists()


def _boot() -> tuple[str, float]:
    """Return the boot id and the boot time. The time moves when the clock is set, so it cannot identify a process."""
    times = [line.split()[1] for line in (PROC / "stat").read_text().splitlines() if line.startswith("btime ")]
    return (PROC / "sys/kernel/random/boot_id").read_text().strip(), float(times[0])


def _from_proc(folder: Path, boot: tuple[str, float]) -> Process | None:
    try:
        # The name is in parentheses, and may itself contain parentheses and spaces.
        fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        arguments = (folder / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return None
    if fields[STATE_FIELD] in "ZX":
        return None
    ticks = int(fields[START_FIELD])
    command = b" ".join(arguments).decode(errors="replace")
    return Process(int(folder.name), f"{boot[0]}/{ticks}", boot[1] + ticks / os.sysconf("SC_CLK_TCK"), command)


def _listed(selection: tuple[str, ...], timeout: float) -> Iterator[Process]:
    ran = run(("ps", *selection, "-ww", "-o", COLUMNS), timeout)
    # ps exits with 1 if no process matches, which is a valid answer.
    if ran.code not in (0, 1):
        raise OSError(ran.why)
    for line in ran.output.splitlines():
        words = line.split(None, WORDS_BEFORE_ARGS)
        if len(words) < WORDS_BEFORE_ARGS or words[1].startswith("Z"):
            continue
        mark = " ".join(words[2:WORDS_BEFORE_ARGS])
        command = words[WORDS_BEFORE_ARGS] if len(words) > WORDS_BEFORE_ARGS else ""
        yield Process(int(words[0]), mark, time.mktime(time.strptime(mark, LSTART)), command)
