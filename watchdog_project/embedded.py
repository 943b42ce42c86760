"""The whole installation in one command: broker, web, worker and beat as child processes, data in one directory.

`bin/run` runs this. Whatever prevents a start is reported as one sentence on stderr, with exit code 2.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from watchdog_project import addresses, demo, fork_server
from watchdog_project.broker import broker_argv, is_broker_healthy, prepare_broker
from watchdog_project.process_supervisor import Child, Process, Supervisor, execute

BASE_DIR = Path(__file__).resolve().parent.parent
MIN_FREE_BYTES = 50 * 1024 * 1024
# Process groups with their timeouts in seconds: the broker stops after those that use it. Below 10 s in total.
STOP_ORDER = [(("beat", "worker", "mail", "web"), 6.5), (("broker",), 1.5)]
# Demo agents sign off while the server is still up.
DEMO_STOP_ORDER = [(demo.PROCESSES, 1.5)]
NOT_READY_NOTICE_SECONDS = 60


class StartError(Exception):
    """Why the installation cannot start, in one sentence."""


def main() -> None:
    try:
        run(read_options(sys.argv[1:]))
    except StartError as refusal:
        sys.exit(_fail(str(refusal)))
    except OSError as error:
        sys.exit(_fail(f"{error.strerror}: {error.filename}" if error.filename else str(error)))
    except Exception as error:
        if type(error).__name__ != "ImproperlyConfigured":  # not imported: Django takes long to load
            raise
        sys.exit(_fail(str(error)))


def _fail(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 2


def run(options: argparse.Namespace) -> None:
    """Start everything, supervise it, stop everything."""
    site, lock = claim_port_and_data(options)
    relay = None if options.quiet else lambda name, line: say(f"{name:<6} | {line}")
    supervisor = Supervisor(children(site, options), report=say, relay=relay)
    demo_agents = Supervisor([], report=say, relay=relay)
    supervisor.catch_signals()
    try:
        supervisor.start(["broker"])
        welcomed = options.data_dir / "welcomed"
        account = prepare(supervisor, new_key=not welcomed.exists(), with_demo=options.demo)
        if not supervisor.stopping:
            supervisor.start(["web", "worker", "beat", "mail"])
            if options.demo:
                demo_agents.children = demo.agents(site.url, account["demo_key"])
                demo_agents.start(demo.PROCESSES)
            greeting = (site, supervisor, welcome_lines(account, options), welcomed)
            threading.Thread(target=greet_when_ready, args=greeting, daemon=True).start()
            supervisor.run()
    finally:
        demo_agents.stop(DEMO_STOP_ORDER)
        supervisor.stop(STOP_ORDER)
        os.close(lock)


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise StartError(f"{message[0].upper()}{message[1:]}. See bin/run --help.")


def port_number(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port: choose one between 1 and 65535")
    return int(text)


def read_options(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(prog="bin/run", description="Run ClevAgent Watchdog on this machine.", allow_abbrev=False)
    parser.add_argument("--port", type=port_number, default=8000, help="port to listen on (default: 8000)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=Path(os.environ.get("DATA_DIR") or BASE_DIR / "var"),
        metavar="DIRECTORY",
        help="where all data is stored (default: var, or DATA_DIR)",
    )
    parser.add_argument("--demo", action="store_true", help="also run six demo agents, four of them with problems")
    parser.add_argument("--quiet", action="store_true", help="print only the address, the sign-in link and the API key")
    return parser.parse_args(arguments)


@dataclass
class Site:
    """The web server's address, as seen from this machine."""

    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{addresses.as_host(self.host)}:{self.port}"

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body; status 0 if there is no response within 3 s."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=3)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def is_up(self) -> bool:
        return self.get("/healthz")[0] == 200

    def is_ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def detector_ran(self) -> bool | None:
        """Whether the detector ran recently, which takes worker, beat and broker; None if that is unknown."""
        with contextlib.suppress(ValueError, AttributeError):
            return bool(json.loads(self.get("/readyz")[1]).get("detector") == "ok")
        return None


def claim_port_and_data(options: argparse.Namespace) -> tuple[Site, int]:
    """Check the port, lock the data directory, and pass both to the children by environment variables.

    Returns the address and the file descriptor of the lock.
    """
    os.umask(0o077)
    options.data_dir = options.data_dir.absolute()
    require_free_port(options.host, options.port)
    lock = lock_data_directory(options.data_dir)
    site = Site(addresses.LOCAL.get(options.host, options.host), options.port)
    os.environ["DATA_DIR"] = str(options.data_dir)
    (options.data_dir / "address").write_text(addresses.publish(options.host, options.port))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "watchdog_project.settings")
    return site, lock


def require_free_port(host: str, port: int) -> None:
    """Bind the port once, because the web server itself would share it with another program of the same user."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, proto) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror:
        raise StartError(f"--host {host} is not an address of this machine.") from None
    except PermissionError:
        raise StartError(f"Port {port} requires administrator rights. Choose one above 1023 with --port.") from None
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE or "in use" in str(error)
        reason = "is in use by another program" if in_use else f"cannot be used: {error.strerror}"
        raise StartError(f"Port {port} on {host} {reason}. Choose another with --port.") from None


def lock_data_directory(folder: Path) -> int:
    """Create the data directory, check that it is writable, and lock it; returns the lock's file descriptor.

    No child inherits the lock, so it ends with this process even on `kill -9`. Retried for 2 s, because a process that
    was just killed may hold it for a moment.
    """
    lock = _open_lock(folder)
    for _ in range(20):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(lock, 0)
            os.pwrite(lock, str(os.getpid()).encode(), 0)
            return lock
        time.sleep(0.1)
    pid = os.pread(lock, 20, 0).decode() or "unknown"
    raise StartError(f"ClevAgent Watchdog is already running on {folder} (process {pid}).")


def _open_lock(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free < MIN_FREE_BYTES:
            raise StartError(
                f"The disk of the data directory {folder} is full: free at least 50 MB, or choose another --data-dir."
            )
        return os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(
            f"Cannot write to the data directory {folder}: {error.strerror}. Choose another with --data-dir."
        ) from None


def children(site: Site, options: argparse.Namespace) -> list[Child]:
    """The processes to supervise; no broker if the settings name one."""
    from django.conf import settings

    from watchdog_project.settings import broker_socket

    path, folder = broker_socket(options.data_dir), options.data_dir / "broker"
    broker = Child(
        "broker",
        broker_argv(path, folder),
        is_healthy=lambda: is_broker_healthy(path),
        before_start=lambda failed_starts: prepare_broker(path, folder, failed_starts),
    )
    others = [
        _part("web", "--host", options.host, "--port", str(options.port), is_healthy=site.is_up),
        _part("worker", is_healthy=site.detector_ran, health_timeout=40),
        _part("beat", is_healthy=site.detector_ran, health_timeout=30),
        *([_part("mail")] if settings.PING_SMTP_PORT else []),
    ]
    return [broker, *others] if settings.CELERY_BROKER_URL.startswith("redis+socket:") else others


def _part(name: str, *options: str, **settings: Any) -> Child:
    return Child(name, [name, *options], launch=_launch, **settings)


def _launch(argv: list[str], out: int) -> Process:
    """Start a part: see `processes`."""
    if fork_server.AVAILABLE:
        return fork_server.ForkedProcess(argv, out)
    return execute([sys.executable, "-m", "watchdog_project.processes", *argv], out)


def prepare(supervisor: Supervisor, *, new_key: bool, with_demo: bool) -> dict[str, Any]:
    """Migrate the database and get the sign-in link and any new keys, in a separate process."""
    flags = [*(["--new-key"] if new_key else []), *(["--demo"] if with_demo else [])]
    reading, writing = os.pipe()
    process = _launch(["prepare", *flags], writing)
    os.close(writing)
    with os.fdopen(reading, errors="replace") as output:
        while process.poll() is None:
            if supervisor.stopping:
                process.send_signal(signal.SIGKILL)
                return {}
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.2)
        last_line = (output.read().strip().splitlines() or ["no reason given"])[-1]
    if process.returncode:
        raise StartError(f"Cannot start: {last_line}")
    account: dict[str, Any] = json.loads(last_line)
    return account


def welcome_lines(account: dict[str, Any], options: argparse.Namespace) -> list[str]:
    base_url, with_code = os.environ["BASE_URL"], sys.stdout.isatty() and not options.quiet
    lines = [
        f"ClevAgent Watchdog is running at {base_url}",
        *addresses.lines(options.host, options.port, base_url, with_code=with_code),
        f"One-time sign-in link (valid 1 h): {account['sign_in_url']}",
    ]
    if "api_key" in account:
        lines.append(f"API key of project “{account['project']}” (shown only once): {account['api_key']}")
    else:
        lines.append("Create API keys under Team → API keys.")
    if "demo_key" in account:
        lines.append(f"Six demo agents are running in project “{demo.PROJECT}”. Problems will show within 90 seconds.")
        lines.append("A runner watches demo-hung: restart it from its page once it is stalled.")
    return [*lines, "Press Ctrl-C to stop."]


def greet_when_ready(site: Site, supervisor: Supervisor, lines: list[str], welcomed: Path) -> None:
    """Wait until everything is ready, then print the address, sign-in link and key."""
    notice_at = time.monotonic() + NOT_READY_NOTICE_SECONDS
    while not site.is_ready():
        if supervisor.stopping:
            return
        if time.monotonic() > notice_at:
            notice_at += NOT_READY_NOTICE_SECONDS
            state = site.get("/readyz")[1].decode(errors="replace")
            say(f"Not ready yet: {state or 'the web process is not responding'}")
        time.sleep(0.1)
    for line in lines:
        say(line)
    with contextlib.suppress(OSError):
        welcomed.touch()


def say(line: str) -> None:
    """Print a line; a closed pipe must not end the watchdog."""
    with contextlib.suppress(OSError, ValueError):
        print(line, flush=True)


if __name__ == "__main__":
    main()
