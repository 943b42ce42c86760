#!/usr/bin/env python3
"""Heartbeat throughput and cost: bench/ingest.py [--seconds 8] [--workers 2] [--sqlite].

Starts PostgreSQL with default durability on disk and the web server as in deploy/. 1, 16 and 64 agents send heartbeats,
each on its own connection, as fast as they are answered. In the same run `pgbench` performs the same hot-row update and
heartbeat insert, one commit each, with as many clients. Load generator, server and database share the machine's cores
in both cases.

Then the same with batches of 100 heartbeats, next to pgbench's rate with 100 rows per commit. With `--sqlite`, one web
process on SQLite, without anything to compare.

Columns: pgbench transactions per second; heartbeats per second; CPU milliseconds of the web processes per heartbeat;
commits per heartbeat; 50th and 99th percentile of the response time in milliseconds; bytes of WAL per heartbeat;
heartbeats per second as a share of pgbench's best.
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
BATCH_CONNECTIONS = (1, 16)
FIRST = 1_000_000_000
SQLITE = "--sqlite" in sys.argv
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

PGBENCH_100 = """
BEGIN;
UPDATE agents_agentstate SET beats = beats + 1, last_beat_at = now(), tokens_today = tokens_today + 10,
    cost_today = cost_today + 1000, cost_total = cost_total + 1000, iteration = iteration + 1
WHERE agent_id IN (SELECT agent_id FROM agents_agentstate ORDER BY agent_id LIMIT 64 FOR UPDATE);
INSERT INTO agents_heartbeat
    (agent_id, day, received_at, spent_at, status, progress, tokens, cost, priced, unpriced, tool_calls, iteration,
     content)
SELECT (SELECT min(agent_id) FROM agents_agentstate) + number % 64, current_date, now(), now(), 'ok', true, 10, 1000, 0,
    0, 0, 1, '{"message": "step"}' FROM generate_series(1, 100) number;
COMMIT;
"""


class Result(NamedTuple):
    rate: float
    cpu_ms: float
    commits: float
    p50_ms: float
    p99_ms: float
    wal: float


class Counters(NamedTuple):
    """What the database has counted so far; SQLite counts nothing."""

    commits: int
    wal: int


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


def counters() -> Counters:
    if SQLITE:
        return Counters(0, 0)
    committed = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
    wal = "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn"
    argv = ["psql", os.environ["DATABASE_URL"], "-Atc", f"SELECT pg_stat_force_next_flush(); {committed}; {wal}"]
    *_, commits, written = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()
    return Counters(int(commits), int(written))


def request_of(key: str, agent: int, batch: int = 1) -> bytes:
    """An agent's request as a template; the number has a fixed length, so that generating load costs little CPU."""
    body = {"agent": f"bot-{agent}", "status": "ok", "message": "step", "tokens_used": 10, "cost_usd": 0.001}
    data = json.dumps({**body, "iteration_count": FIRST})
    path = "/api/v1/heartbeat"
    if batch > 1:
        members = [data.replace(f"bot-{agent}", f"bot-{(agent + other) % 64}") for other in range(batch)]
        data, path = f'{{"heartbeats": [{", ".join(members)}]}}', f"{path}/batch"
    length = len(data)
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: {key}\r\n"
    text = f"{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{data}"
    return text.replace(str(FIRST), "%(number)d").encode()


class Sender:
    """One agent on its own connection, which sends the next heartbeat once the last one is answered."""

    def __init__(self, key: str, agent: int, port: int, batch: int) -> None:
        self.request = request_of(key, agent, batch)
        self.number = FIRST
        self.answer = b""
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.send()

    def send(self) -> None:
        self.sent = time.perf_counter()
        self.socket.sendall(self.request % {b"number": self.number})
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


def send_for(seconds: float, keys: list[str], port: int, connections: int, batch: int = 1) -> list[float]:
    """Let all agents send for that long; returns the seconds each answer took."""
    selector, taken = selectors.DefaultSelector(), []
    senders = [Sender(keys[agent % len(keys)], agent, port, batch) for agent in range(connections)]
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


def measure(seconds: float, keys: list[str], port: int, connections: int, pids: list[int], batch: int = 1) -> Result:
    send_for(1, keys, port, connections, batch)
    cpu, before, start = cpu_seconds(pids), counters(), time.perf_counter()
    taken = sorted(send_for(seconds, keys, port, connections, batch))
    passed = time.perf_counter() - start
    cpu, after = cpu_seconds(pids) - cpu, counters()
    count = len(taken) * batch
    return Result(
        rate=count / passed,
        cpu_ms=cpu / count * 1000,
        commits=(after.commits - before.commits) / count,
        p50_ms=taken[len(taken) // 2] * 1000,
        p99_ms=taken[int(len(taken) * 0.99)] * 1000,
        wal=(after.wal - before.wal) / count,
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
    singles, batches = [], []
    with tempfile.TemporaryDirectory() as folder, web(port, workers) as pids:
        single, hundred = Path(folder) / "single.sql", Path(folder) / "hundred.sql"
        single.write_text(PGBENCH)
        hundred.write_text(PGBENCH_100)
        send_for(2, keys, port, 64)
        for connections in CONNECTIONS:
            result = measure(seconds, keys, port, connections, pids)
            singles.append((connections, compared(seconds, connections, single), result))
        for connections in BATCH_CONNECTIONS:
            result = measure(seconds, keys, port, connections, pids, batch=100)
            batches.append((connections, 100 * compared(seconds, connections, hundred), result))
    show("connections", singles)
    show("batches", batches)


def compared(seconds: float, clients: int, script: Path) -> float:
    return 0.0 if SQLITE else pgbench(seconds, clients, script)


def show(title: str, rows: list[tuple[int, float, Result]]) -> None:
    best = max(rate for _, rate, _ in rows) or float("inf")
    print(f"{title:>11}  pgbench/s  beats/s  CPU ms  commits  p50 ms  p99 ms   WAL  of best")
    for connections, rate, result in rows:
        figures = f"{result.rate:8.0f} {result.cpu_ms:7.2f} {result.commits:8.2f} {result.p50_ms:7.1f}"
        end = f"{result.p99_ms:7.1f} {result.wal:5.0f} {result.rate / best:8.0%}"
        print(f"{connections:>11} {rate:>10.0f} {figures} {end}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=8, help="seconds per measurement")
    parser.add_argument("--workers", type=int, default=2, help="web processes")
    parser.add_argument("--sqlite", action="store_true", help="measure one web process on SQLite")
    options = parser.parse_args()
    if "DATABASE_URL" not in os.environ and not options.sqlite:
        # On disk: in memory a commit would cost nothing.
        services = [sys.executable, str(HERE / "bin/services"), "--folder", "/var/tmp"]
        raise SystemExit(subprocess.run([*services, sys.executable, *sys.argv]).returncode)
    # On SQLite the data folder holds the database, so it is on disk.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as data:
        os.environ |= {
            "DATA_DIR": data,
            "ALLOWED_HOSTS": "127.0.0.1",
            "DJANGO_SETTINGS_MODULE": "watchdog_project.settings",
        }
        run(options.seconds, 1 if SQLITE else options.workers)


if __name__ == "__main__":
    main()
