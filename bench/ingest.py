#!/usr/bin/env python3
"""Heartbeat throughput and cost: bench/ingest.py [--seconds 8] [--workers 2].

Starts PostgreSQL with default durability on disk and the web server as in deploy/. 1, 16 and 64 agents send heartbeats,
each on its own connection, as fast as they are answered. In the same run `pgbench` performs the same hot-row update and
heartbeat insert, one commit each, with as many clients. Load generator, server and database share the machine's cores
in both cases.

Columns: pgbench transactions per second; heartbeats per second; CPU milliseconds of the web processes per heartbeat;
commits per heartbeat; 99th percentile of the response time in milliseconds; heartbeats per second as a share of
pgbench's best.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
CONNECTIONS = (1, 16, 64)
FIRST = 1_000_000_000
# What a heartbeat writes, as one statement.
PGBENCH = """
\\set agent random(1, 64)
WITH hot AS (
    UPDATE agents_agentstate SET beats = beats + 1, last_beat_at = now(), tokens_today = tokens_today + 10,
        cost_today = cost_today + 1000, cost_total = cost_total + 1000, iteration = iteration + 1
    WHERE agent_id = (SELECT min(agent_id) FROM agents_agentstate) + :agent - 1 RETURNING agent_id
)
INSERT INTO agents_heartbeat
    (agent_id, day, received_at, spent_at, status, progress, tokens, cost, priced, unpriced, tool_calls, iteration,
     content)
SELECT agent_id, current_date, now(), now(), 'ok', true, 10, 1000, 0, 0, 0, 1, '{"message": "step"}' FROM hot;
"""


class Result(NamedTuple):
    rate: float
    cpu_ms: float
    commits: float
    p99_ms: float


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def manage(*arguments: str) -> str:
    argv = [PYTHON, "manage.py", *arguments]
    return subprocess.run(argv, cwd=HERE, check=True, capture_output=True, text=True).stdout


@contextlib.contextmanager
def web(port: int, workers: int) -> Iterator[list[int]]:
    """Run the web server as in deploy/; yields the ids of all its processes."""
    argv = [str(Path(PYTHON).parent / "granian"), "--interface", "asginl", "--http", "1", "--loop", "uvloop"]
    argv += ["--backlog", "4096", "--backpressure", "20000", "--workers-kill-timeout", "5", "--port", str(port)]
    argv += ["--workers", str(workers), "watchdog_project.asgi:application"]
    server = subprocess.Popen(argv, cwd=HERE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        time.sleep(3)  # until all workers are up, not just the first one
        yield children_of(server.pid)
    finally:
        server.terminate()
        server.wait(20)


def wait_for(port: int) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.2)
    raise SystemExit("the web server did not start")


def children_of(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(child for text in listed for child in children_of(int(text)))]


def cpu_seconds(pids: list[int]) -> float:
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def commits() -> int:
    sql = (
        "SELECT pg_stat_force_next_flush(); SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
    )
    argv = ["psql", os.environ["DATABASE_URL"], "-Atc", sql]
    return int(subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()[-1])


def request_of(key: str, agent: int) -> bytes:
    """An agent's request as a template; the number has a fixed length, so that generating load costs little CPU."""
    body = {"agent": f"bot-{agent}", "status": "ok", "message": "step", "tokens_used": 10, "cost_usd": 0.001}
    data = json.dumps({**body, "iteration_count": FIRST}).replace(str(FIRST), "%d")
    head = f"POST /api/v1/heartbeat HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: {key}\r\n"
    length = len(data) - len("%d") + len(str(FIRST))
    return f"{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{data}".encode()


class Sender:
    """One agent on its own connection, which sends the next heartbeat once the last one is answered."""

    def __init__(self, key: str, agent: int, port: int) -> None:
        self.request = request_of(key, agent)
        self.number = FIRST
        self.answer = b""
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.send()

    def send(self) -> None:
        self.sent = time.perf_counter()
        self.socket.sendall(self.request % self.number)
        self.number += 1

    def receive(self) -> float | None:
        """Read what has arrived. Returns the seconds the answer took, None while its body is incomplete."""
        self.answer += self.socket.recv(65536)
        if not self.answer.endswith(b"}"):
            return None
        if not self.answer.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"refused: {self.answer[:500]!r}")
        self.answer = b""
        return time.perf_counter() - self.sent


def send_for(seconds: float, keys: list[str], port: int, connections: int) -> list[float]:
    """Let all agents send for that long; returns the seconds each answer took."""
    selector, taken = selectors.DefaultSelector(), []
    senders = [Sender(keys[agent % len(keys)], agent, port) for agent in range(connections)]
    for sender in senders:
        selector.register(sender.socket, selectors.EVENT_READ, sender)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for event, _ in selector.select(1):
            took = event.data.receive()
            if took is not None:
                taken.append(took)
                event.data.send()
    for sender in senders:
        sender.socket.close()
    return taken


def measure(seconds: float, keys: list[str], port: int, connections: int, pids: list[int]) -> Result:
    send_for(1, keys, port, connections)
    cpu, committed, start = cpu_seconds(pids), commits(), time.perf_counter()
    taken = send_for(seconds, keys, port, connections)
    passed = time.perf_counter() - start
    cpu, committed = cpu_seconds(pids) - cpu, commits() - committed
    count = len(taken)
    return Result(
        rate=count / passed,
        cpu_ms=cpu / count * 1000,
        commits=committed / count,
        p99_ms=sorted(taken)[int(count * 0.99)] * 1000,
    )


def pgbench(seconds: float, clients: int, script: Path) -> float:
    program = shutil.which("pgbench") or str(max(Path("/usr/lib/postgresql").glob("*/bin/pgbench")))
    argv = [program, "-n", "-M", "prepared", "-f", str(script), "-c", str(clients), "-j", "2", "-T", str(int(seconds))]
    out = subprocess.run([*argv, os.environ["DATABASE_URL"]], check=True, capture_output=True, text=True).stdout
    return float(out.partition("tps = ")[2].split()[0])


MAKE_KEYS = """
from teams import services
from teams.models import Project
project = Project.objects.get()
for number in range(16):
    print(services.issue_key(project=project, name=str(number), actor="bench")[1])
"""


def prepare() -> list[str]:
    """Create a project on a plan without limits. Several API keys, because detail is stored up to a rate per key."""
    manage("migrate", "--no-input")
    team = ["--team", "Bench", "--project", "Bench", "--owner", "bench@example.com", "--plan", "enterprise"]
    manage("create_project", *team)
    return manage("shell", "-v0", "-c", MAKE_KEYS).split()


def run(seconds: float, workers: int) -> None:
    keys, port = prepare(), free_port()
    rates: dict[int, float] = {}
    results: dict[int, Result] = {}
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script, web(port, workers) as pids:
        script.write(PGBENCH)
        script.flush()
        send_for(2, keys, port, 64)
        for connections in CONNECTIONS:
            results[connections] = measure(seconds, keys, port, connections, pids)
            rates[connections] = pgbench(seconds, connections, Path(script.name))
    best = max(rates.values())
    print("connections  pgbench/s  beats/s  CPU ms  commits  p99 ms  of best")
    for connections, result in results.items():
        figures = f"{result.rate:8.0f} {result.cpu_ms:7.2f} {result.commits:8.2f} {result.p99_ms:7.1f}"
        print(f"{connections:>11} {rates[connections]:>10.0f} {figures} {result.rate / best:8.0%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=8, help="seconds per measurement")
    parser.add_argument("--workers", type=int, default=2, help="web processes")
    options = parser.parse_args()
    if "DATABASE_URL" not in os.environ:
        # On disk: in memory a commit would cost nothing.
        services = [sys.executable, str(HERE / "bin/services"), "--folder", "/var/tmp"]
        raise SystemExit(subprocess.run([*services, sys.executable, *sys.argv]).returncode)
    with tempfile.TemporaryDirectory() as data:
        os.environ |= {
            "DATA_DIR": data,
            "ALLOWED_HOSTS": "127.0.0.1",
            "DJANGO_SETTINGS_MODULE": "watchdog_project.settings",
        }
        run(options.seconds, options.workers)


if __name__ == "__main__":
    main()
