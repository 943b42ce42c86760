"""What the fleet runs against: PostgreSQL, Redis and the processes of deploy/; what those cost; the generator."""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import json
import os
import re
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import IO
from urllib.parse import urlsplit

import psycopg
import redis

ROOT = Path(__file__).resolve().parent.parent
UNITS = sorted((ROOT / "deploy/systemd").glob("*.service"))
# What belongs to the caller's own Django must not reach the measured processes.
FOREIGN = re.compile(
    r"CELERY_.*|DJANGO_.*|PYTEST_.*|EMAIL_URL|SENTRY_DSN|RESTART_DELAYS|DEFAULT_PLAN|WATCHDOG_PING_URL"
)
ALL_PARTS = ("web", "worker", "sender", "beat")
READY_WITHIN = 120
STOPPED_WITHIN = 30


@dataclass(frozen=True)
class Services:
    """Where the data is. `admin` is the server's own database, to create and drop ours from."""

    admin: str
    database: str
    redis: str

    @property
    def name(self) -> str:
        """The database's name."""
        return urlsplit(self.database).path.removeprefix("/")

    @property
    def is_local(self) -> bool:
        return urlsplit(self.database).hostname in ("127.0.0.1", "localhost")


@contextlib.contextmanager
def services() -> Iterator[Services]:
    """A database and Redis: on the servers that DATABASE_URL and REDIS_URL name, else on temporary ones."""
    with contextlib.ExitStack() as stack:
        admin, broker = os.environ.get("DATABASE_URL"), os.environ.get("REDIS_URL")
        if not (admin and broker):
            admin, broker = stack.enter_context(temporary_servers())
        stack.enter_context(empty_redis(broker))
        yield Services(admin, stack.enter_context(new_database(admin)), broker)


@contextlib.contextmanager
def temporary_servers() -> Iterator[tuple[str, str]]:
    """Those of bin/services, on disk: in memory a commit would cost nothing."""
    programs = load_script(ROOT / "bin/services")
    postgres, server = programs.find_postgres(), programs.find_redis()
    if postgres is None or server is None:
        raise SystemExit("PostgreSQL or Redis is not installed.")
    with tempfile.TemporaryDirectory(prefix="watchdog-fleet-", dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with programs.postgres(postgres, folder) as admin, programs.redis(server, folder) as broker:
            yield admin, broker


def load_script(path: Path) -> ModuleType:
    loader = importlib.machinery.SourceFileLoader(path.name, str(path))
    spec = importlib.util.spec_from_loader(path.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    with without_bytecode():
        loader.exec_module(module)
    return module


@contextlib.contextmanager
def without_bytecode() -> Iterator[None]:
    """Scripts in bin/ leave no __pycache__ there."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


@contextlib.contextmanager
def empty_redis(url: str) -> Iterator[None]:
    with redis.Redis.from_url(url) as client:
        if client.dbsize():
            raise SystemExit("The Redis database that REDIS_URL names is in use. Name an empty one.")
        try:
            yield
        finally:
            client.flushdb()


@contextlib.contextmanager
def new_database(admin: str) -> Iterator[str]:
    name = f"fleet_{os.getpid()}"
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    try:
        yield urlsplit(admin)._replace(path=f"/{name}").geturl()
    finally:
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


# The processes


@dataclass
class Parts:
    """Web, worker, sender and beat, started with the command lines of deploy/systemd."""

    services: Services
    logs: Path
    counts: dict[str, int]
    port: int
    processes: dict[str, list[subprocess.Popen[bytes]]] = field(default_factory=dict)

    def env(self, data: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not FOREIGN.fullmatch(name)}
        return {
            **kept,
            "DATABASE_URL": self.services.database,
            "REDIS_URL": self.services.redis,
            "SECRET_KEY": os.environ.get("SECRET_KEY") or secrets.token_urlsafe(50),
            "BASE_URL": f"http://127.0.0.1:{self.port}",
            "ALLOWED_HOSTS": "127.0.0.1",
            "DATA_DIR": data,
            "DJANGO_SETTINGS_MODULE": "watchdog_project.settings",
            "ALLOW_PRIVATE_TARGETS": "true",
            "SIGNUP_OPEN": "false",
            "LOG_FORMAT": "json",
            "VENV": sys.prefix,
        }

    def prepare(self, env: dict[str, str]) -> None:
        web = next(unit for unit in UNITS if part_of(unit) == "web")
        run(command(web, "ExecStartPre", self.port), env)

    def start(self, env: dict[str, str], names: Collection[str] = ALL_PARTS) -> None:
        for unit in UNITS:
            name = part_of(unit)
            if name not in names:
                continue
            own = {**env, **environment(unit)}
            if name == "web":
                own["GRANIAN_WORKERS"] = str(self.counts["web"])
            copies = 1 if name in ("web", "beat") else self.counts[name]
            self.processes[name] = [self._started(unit, own, number) for number in range(copies)]

    def _started(self, unit: Path, env: dict[str, str], number: int) -> subprocess.Popen[bytes]:
        argv = command(unit, "ExecStart", self.port)
        if "worker" in argv:
            argv += ["-n", f"{part_of(unit)}{number}@%h"]
        with (self.logs / f"{part_of(unit)}-{number}.log").open("wb") as log:
            return subprocess.Popen(argv, cwd=ROOT, env=env, stdout=log, stderr=log, start_new_session=True)

    def wait_until_ready(self) -> None:
        end = time.monotonic() + READY_WITHIN
        while time.monotonic() < end:
            self.check()
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5).close()
                return
            time.sleep(0.5)
        raise SystemExit(f"The server is not ready after {READY_WITHIN} s.\n{self.last_lines()}")

    def check(self) -> None:
        """Raise SystemExit when a process has ended."""
        for name, processes in self.processes.items():
            if any(process.poll() is not None for process in processes):
                raise SystemExit(f"{name} has ended.\n{self.last_lines()}")

    def last_lines(self) -> str:
        return "\n".join(f"--- {log.name}\n{log.read_text()[-1500:]}" for log in sorted(self.logs.glob("*.log")))

    def pids(self, name: str) -> list[int]:
        return [pid for process in self.processes[name] for pid in family_of(process.pid)]

    def stop(self) -> None:
        everything = [process for processes in self.processes.values() for process in processes]
        for process in everything:
            process.terminate()
        end = time.monotonic() + STOPPED_WITHIN
        for process in everything:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, end - time.monotonic()))
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with its children, as systemd ends a unit
            process.wait()


@contextlib.contextmanager
def running(parts: Parts, env: dict[str, str]) -> Iterator[None]:
    """The parts, started and ready; ended at last."""
    try:
        parts.start(env)
        parts.wait_until_ready()
        yield
    finally:
        parts.stop()


def part_of(unit: Path) -> str:
    return unit.stem.removeprefix("watchdog-")


def lines_of(unit: Path, name: str) -> list[str]:
    return [line.partition("=")[2] for line in unit.read_text().splitlines() if line.startswith(f"{name}=")]


def command(unit: Path, name: str, port: int) -> list[str]:
    line = lines_of(unit, name)[0].replace("/opt/watchdog/.venv", sys.prefix)
    return shlex.split(line.replace("--port 8000", f"--port {port}"))


def environment(unit: Path) -> dict[str, str]:
    """The unit's own variables, but for the data folder, which is ours."""
    pairs = (line.partition("=") for line in lines_of(unit, "Environment"))
    return {name: value for name, _, value in pairs if name != "DATA_DIR"}


def run(argv: list[str], env: dict[str, str], text: str = "") -> str:
    done = subprocess.run(argv, cwd=ROOT, env=env, input=text, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(argv[:3])} failed:\n{done.stderr[-3000:]}")
    return done.stdout


CREATE_PROJECTS = """
import io, json, os
from django.core.management import call_command
from alerts.services import create_channel
from teams.models import Project
from teams.services import issue_key

task, keys = json.loads(os.environ["FLEET_TASK"]), []
for number in range(task["projects"]):
    out, name = io.StringIO(), f"Fleet {number}"
    words = ["--team", "Fleet", "--project", name, "--owner", "fleet@example.com", "--plan", "enterprise", "--json"]
    call_command("create_project", *words, stdout=out)
    project = Project.objects.get(name=name)
    more = [issue_key(project=project, name=f"key {n}", actor="fleet")[1] for n in range(1, task["keys"])]
    keys.append([json.loads(out.getvalue())["api_key"], *more])
    create_channel(project=project, kind="webhook", name="Fleet", config={"url": task["url"]}, actor="fleet")
print(json.dumps(keys))
"""


def create_projects(env: dict[str, str], projects: int, keys: int, url: str) -> list[list[str]]:
    """Projects of one team on the largest plan, each with keys and a webhook channel. Returns the keys by project."""
    task = json.dumps({"projects": projects, "keys": keys, "url": url})
    argv = [sys.executable, "manage.py", "shell", "-v0", "-c", CREATE_PROJECTS]
    made: list[list[str]] = json.loads(run(argv, {**env, "FLEET_TASK": task}).splitlines()[-1])
    return made


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# What they cost


def family_of(pid: int) -> list[int]:
    """A process and all below it."""
    try:
        listed = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return []
    return [pid, *(one for text in listed for child in text.split() for one in family_of(int(child)))]


def cpu_seconds(pids: list[int]) -> float:
    """CPU time of processes and of their children that have ended."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(value) for value in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mb(pids: list[int]) -> float:
    """Proportional set size: memory that processes share is counted once."""
    kilobytes = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
            kilobytes += int(found.group(1)) if found else 0
    return kilobytes / 1024


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def local_server(pid: int, program: str) -> list[int]:
    """The pids of a server that says it is `pid`, when it runs on this machine."""
    try:
        is_here = program in Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return []
    return family_of(pid) if is_here else []


# The load


@contextlib.contextmanager
def generator(tasks: list[str]) -> Iterator[list[subprocess.Popen[str]]]:
    """A process per task of `fleet_load.py`."""
    started: list[subprocess.Popen[str]] = []
    try:
        for task in tasks:
            started.append(start_load(task))
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()


def start_load(task: str) -> subprocess.Popen[str]:
    argv = [sys.executable, str(ROOT / "bench/fleet_load.py")]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdin is not None
    stdin: IO[str] = process.stdin
    stdin.write(task)
    stdin.close()
    return process
