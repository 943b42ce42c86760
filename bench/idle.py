#!/usr/bin/env python3
"""Idle connections beside heartbeats: bench/idle.py [--connections 200] [--seconds 60] [--deploy].

Starts `bin/run` (SQLite), or with `--deploy` web, worker, sender and beat with the command lines of deploy/systemd on a
temporary PostgreSQL and Redis. First 10 agents report twice a second for a quarter of the time. Then they go on while
that many connections stand idle: slow bodies, half headers, chunks without an end, and nothing at all, each opened
again when the server closes it.

Prints the heartbeats, their 50th and 99th percentile in milliseconds and the refused ones, without and with the idle
connections. The exit code is 1 when the 99th percentile with them exceeds 200 ms or a heartbeat failed.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench import fleet_parts  # noqa: E402 - needs the path

AGENTS: Final = 10
PAUSE: Final = 0.5
# The promise: milliseconds for other people's heartbeats.
MOST_MS: Final = 200
# Between the bytes of a slow body.
DRIP: Final = 2.0
HEAD: Final = "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: {key}\r\nContent-Type: application/json\r\n"
# What a connection sends at first. `{{` is one brace.
KINDS: Final = (
    HEAD + "Content-Length: 100\r\n\r\n{{",
    HEAD + 'Transfer-Encoding: chunked\r\n\r\n6\r\n{{"a": \r\n',
    HEAD,
    "",
)
PATHS: Final = ("/api/v1/heartbeat", "/accounts/login/", "/api/v1/channels")


class Server(NamedTuple):
    port: int
    key: str


class Result(NamedTuple):
    """Milliseconds per heartbeat, in order, and how many failed."""

    times: list[float]
    failed: int

    def percentile(self, share: float) -> float:
        return self.times[min(len(self.times) - 1, int(len(self.times) * share))] if self.times else float("inf")


# Idle connections


@contextlib.contextmanager
def idle_connections(server: Server, count: int) -> Iterator[None]:
    done = threading.Event()
    threads = [threading.Thread(target=keep_idle, args=(server, number, done), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join(DRIP + 5)


def keep_idle(server: Server, number: int, done: threading.Event) -> None:
    """Keep one connection open; every fourth sends a byte of its body from time to time."""
    text = KINDS[number % len(KINDS)].format(path=PATHS[number % len(PATHS)], key=server.key)
    while not done.is_set():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", server.port), 10) as connection:
            connection.sendall(text.encode())
            connection.settimeout(DRIP)
            while not done.is_set() and is_open(connection):
                if number % len(KINDS) == 0:
                    connection.sendall(b" ")
        done.wait(0.1)


def is_open(connection: socket.socket) -> bool:
    """Whether the server keeps the connection; waits for `DRIP` seconds."""
    try:
        return bool(connection.recv(4096))
    except TimeoutError:
        return True


# Heartbeats


def report(server: Server, seconds: float) -> Result:
    """All agents report until the time is over, each on a connection of its own."""
    results: list[tuple[float, bool]] = []
    end = time.monotonic() + seconds
    threads = [threading.Thread(target=beat, args=(server, agent, end, results)) for agent in range(AGENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Result(sorted(took for took, ok in results if ok), sum(not ok for _, ok in results))


def beat(server: Server, agent: int, end: float, results: list[tuple[float, bool]]) -> None:
    body = json.dumps({"agent": f"bot-{agent}", "status": "ok", "interval": 3600}).encode()
    headers = {"X-API-Key": server.key, "Content-Type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    while time.monotonic() < end:
        began = time.monotonic()
        try:
            connection.request("POST", "/api/v1/heartbeat", body, headers)
            answer = connection.getresponse()
            answer.read()
            ok = answer.status == 200
        except (OSError, http.client.HTTPException):
            connection.close()
            ok = False
        results.append(((time.monotonic() - began) * 1000, ok))
        time.sleep(PAUSE)
    connection.close()


# Servers


@contextlib.contextmanager
def embedded() -> Iterator[Server]:
    """`bin/run` with a data folder of its own."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="watchdog-idle-") as folder:
        argv = ["bin/run", "--port", str(port), "--data-dir", f"{folder}/data", "--quiet"]
        env = fleet_parts.Parts(fleet_parts.Services("", "", ""), Path(folder), {}, port).env(f"{folder}/data")
        env = {name: value for name, value in env.items() if name not in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY")}
        process = subprocess.Popen(argv, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until_ready(port, process)
            yield Server(port, create_key(env))
        finally:
            process.terminate()
            process.wait(30)


@contextlib.contextmanager
def deployed() -> Iterator[Server]:
    """The parts of deploy/systemd on PostgreSQL and Redis."""
    with fleet_parts.services() as services, tempfile.TemporaryDirectory(prefix="watchdog-idle-") as folder:
        counts = {"web": 2, "worker": 1, "sender": 1}
        parts = fleet_parts.Parts(services, Path(folder), counts, free_port())
        env = parts.env(folder)
        parts.prepare(env)
        with fleet_parts.running(parts, env):
            yield Server(parts.port, create_key(env))


def create_key(env: dict[str, str]) -> str:
    argv = "manage.py create_project --team Idle --project Idle --owner idle@example.com --plan enterprise --json"
    key: str = json.loads(fleet_parts.run([sys.executable, *argv.split()], env))["api_key"]
    return key


def wait_until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + fleet_parts.READY_WITHIN
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.5)
    raise SystemExit("The server is not ready.")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# The run


def line(name: str, result: Result) -> str:
    sent = len(result.times)
    return f"{name:32} {sent:6} {result.percentile(0.5):9.1f} {result.percentile(0.99):9.1f} {result.failed:7}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--deploy", action="store_true")
    options = parser.parse_args()
    with (deployed if options.deploy else embedded)() as server:
        report(server, 3)  # creates the agents
        print(f"{'':32} {'sent':>6} {'p50 ms':>9} {'p99 ms':>9} {'failed':>7}")
        print(line("without idle connections", report(server, options.seconds / 4)), flush=True)
        with idle_connections(server, options.connections):
            time.sleep(2)
            result = report(server, options.seconds)
        print(line(f"with {options.connections} idle connections", result))
    return int(result.percentile(0.99) > MOST_MS or result.failed > 0)


if __name__ == "__main__":
    sys.exit(main())
