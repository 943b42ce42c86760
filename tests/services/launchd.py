"""A fake launchd: `python launchd.py FOLDER VERB …` is its `launchctl`. The folder holds the state of its jobs.

It reads real plists, starts programs as documented in launchctl(1) and launchd.plist(5), and prints jobs as macOS does;
it was not compared with a Mac. Each job has a keeper, a process that restarts its program.
"""

from __future__ import annotations

import json
import os
import plistlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

NOT_FOUND, FAILED = 113, 5
# launchd's own is 10 s.
BETWEEN_STARTS = 0.5
STARTED_WITHIN = 60.0
# The session's environment variables; the second as set by `launchctl setenv`.
INHERITED = ("HOME", "STATE_DIRECTORY")
PROGRAM = '#!/bin/sh\nexec {python} -I {here} {folder} "$@"\n'


@contextmanager
def session(folder: Path) -> Iterator[Path]:
    """A session without jobs; the path of its `launchctl`. Its jobs end with it."""
    folder.mkdir()
    launchctl = folder / "launchctl"
    launchctl.write_text(PROGRAM.format(python=sys.executable, here=Path(__file__).resolve(), folder=folder))
    launchctl.chmod(0o755)
    try:
        yield launchctl
    finally:
        for job in folder.glob("*.json"):
            bootout(job)


def main(folder: Path, verb: str, *words: str) -> int:
    """One `launchctl` command."""
    if verb == "bootstrap":
        return bootstrap(folder, *words)
    service = words[-1]
    job = folder / f"{service.replace('/', '_')}.json"
    if not job.exists():
        print(f'Could not find service "{service.rpartition("/")[2]}" in domain', file=sys.stderr)
        return NOT_FOUND
    code: int = VERBS[verb](job, *words)
    return code


def bootstrap(folder: Path, domain: str, path: str) -> int:
    """Load a job, and start it if its plist says so."""
    plist = plistlib.loads(Path(path).read_bytes())
    service = f"{domain}/{plist['Label']}"
    job = folder / f"{service.replace('/', '_')}.json"
    if job.exists():
        print("Bootstrap failed: 5: Input/output error", file=sys.stderr)
        return FAILED
    assert plist["RunAtLoad"], "the fake knows no other way to start"
    tell(job, service=service, path=path, state="not running", runs=0)
    if os.fork() == 0:
        os.setsid()
        for number in range(3):
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
        keep(job, plist)
        os._exit(0)
    until(lambda: known(job)["state"] == "running")
    return 0


def keep(job: Path, plist: dict[str, Any]) -> None:
    """Run the job's keeper: SIGTERM unloads the job, SIGHUP restarts its program."""
    asked: list[int] = []
    tell(job, keeper=os.getpid())
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda got, _: asked.append(got))
    while signal.SIGTERM not in asked:
        asked.clear()
        code = run(job, plist, asked)
        tell(job, **{"state": "not running", "last exit code": code})
        if not asked and (plist["KeepAlive"] is True or code != 0):
            time.sleep(BETWEEN_STARTS)
        while not asked and code == 0 and plist["KeepAlive"] is not True:
            time.sleep(0.05)
    job.unlink()


def run(job: Path, plist: dict[str, Any], asked: list[int]) -> int:
    """Run the program until it ends or must end; the exit code."""
    argv = plist["ProgramArguments"]
    assert argv[0].startswith("/"), "launchd searches programs only in its own PATH"
    path = f"{job.parent}:/usr/bin:/bin:/usr/sbin:/sbin"
    environment = {"PATH": path, **{name: os.environ[name] for name in INHERITED}}
    with Path(plist.get("StandardErrorPath", os.devnull)).open("ab") as errors:
        process = subprocess.Popen(argv, cwd="/", env=environment, stderr=errors)
    tell(job, state="running", pid=process.pid, runs=known(job)["runs"] + 1)
    while process.poll() is None and not asked:
        time.sleep(0.05)
    process.terminate()
    try:
        return process.wait(plist.get("ExitTimeOut", 20))
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def bootout(job: Path, *_: str) -> int:
    """Unload the job."""
    with suppress(ProcessLookupError, FileNotFoundError):
        os.kill(known(job)["keeper"], signal.SIGTERM)
        until(lambda: not job.exists())
    return 0


def kickstart(job: Path, option: str, _: str) -> int:
    assert option == "-k"
    before = known(job)["runs"]
    os.kill(known(job)["keeper"], signal.SIGHUP)
    until(lambda: known(job)["runs"] > before)
    return 0


def kill(job: Path, name: str, _: str) -> int:
    os.kill(known(job)["pid"], signal.Signals[name])
    return 0


def show(job: Path, service: str) -> int:
    lines = "".join(f"\t{name} = {value}\n" for name, value in known(job).items() if name != "keeper")
    print(f"{service} = {{\n\tactive count = 1\n\tendpoints = {{\n\t\tstate = active\n\t}}\n{lines}}}")
    return 0


def known(job: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(job.read_text())
    return found


def tell(job: Path, **more: Any) -> None:
    beside = job.with_suffix(f".{os.getpid()}")
    beside.write_text(json.dumps({**(known(job) if job.exists() else {}), **more}))
    beside.replace(job)


def until(is_so: Any) -> None:
    end = time.monotonic() + STARTED_WITHIN
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


VERBS: dict[str, Any] = {"bootout": bootout, "kickstart": kickstart, "kill": kill, "print": show}

if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
