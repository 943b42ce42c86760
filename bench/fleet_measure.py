"""Reads what a run left behind: the generator's lines, the database's rows, and costs at two moments."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psycopg
import redis

from bench.fleet_parts import Parts, cpu_seconds, local_server, memory_mb, parent_of

TABLE_SIZES = """
SELECT coalesce(pg_partition_root(oid), oid)::regclass::text, sum(pg_total_relation_size(oid))::bigint
FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace GROUP BY 1
"""
SIGNALS = """
SELECT agent.name, signal.kind, signal.incident_id, extract(epoch FROM signal.opened_at)::float,
    extract(epoch FROM signal.cleared_at)::float
FROM agents_signal signal JOIN agents_agent agent ON agent.id = signal.agent_id ORDER BY signal.id
"""
OUTAGES = "SELECT part, extract(epoch FROM ended_at - started_at)::float FROM agents_outage ORDER BY started_at"
RECEIVED = """
SELECT beat_id, extract(epoch FROM received_at)::float FROM agents_heartbeat WHERE beat_id IS NOT NULL ORDER BY 2
"""
TOTALS = """
SELECT agent.name, state.tokens_total FROM agents_agentstate state JOIN agents_agent agent ON agent.id = state.agent_id
"""
# When heartbeats were stored without their detail.
SHED = """
SELECT extract(epoch FROM received_at)::float FROM agents_heartbeat
WHERE beat_id IS NOT NULL AND NOT coalesce(jsonb_exists(content, 'calls'), false) ORDER BY 1
"""
PENDING = "SELECT count(*) FROM alerts_delivery WHERE state = 'pending'"


class Sent(NamedTuple):
    """One heartbeat as the client saw it. `late` and `took` are seconds since `due`: until it left, until it ended."""

    agent: int
    number: int
    due: float
    late: float
    took: float
    outcome: str


class Signal(NamedTuple):
    """One problem that the watchdog found. Times are seconds since 1970."""

    agent: int
    kind: str
    incident: int
    opened_at: float
    cleared_at: float | None


@dataclass(frozen=True)
class Cost:
    """What has been used up to a moment. CPU is seconds, memory MB, sizes bytes."""

    at: float
    cpu: dict[str, float]
    memory: dict[str, float]
    updates: int
    hot_updates: int
    commits: int
    deadlocks: int
    wal: int
    tables: dict[str, int]


@dataclass(frozen=True)
class Stored:
    """The database's account. `received` holds the times of each agent's heartbeats, in order."""

    copies: Counter[str]
    received: dict[int, list[float]]
    tokens: dict[int, int]
    signals: list[Signal]
    outages: list[tuple[str, float]]
    pending: int
    shed: list[float]


def read_sent(files: Iterable[Path]) -> list[Sent]:
    """The generator's lines; the last one may be cut off."""
    lines = (line.split() for file in files for line in file.read_text().splitlines())
    return [Sent(int(a), int(n), float(d), float(s), float(t), o) for a, n, d, s, t, o in (x for x in lines if x[5:])]


def read_cost(parts: Parts) -> Cost:
    pids = {name: parts.pids(name) for name in parts.processes}
    with psycopg.connect(parts.services.database) as connection, redis.Redis.from_url(parts.services.redis) as client:
        pids["postgresql"] = (
            local_server(parent_of(connection.info.backend_pid), "postgres") if parts.services.is_local else []
        )
        pids["redis"] = local_server(client.info("server")["process_id"], "server")
        cpu = {name: cpu_seconds(some) for name, some in pids.items() if some}
        memory = {name: memory_mb(some) for name, some in pids.items() if some}
        return Cost(time.time(), cpu, memory, *read_statistics(connection), read_sizes(connection))


def read_statistics(connection: psycopg.Connection) -> tuple[int, int, int, int, int]:
    """Updates of hot rows, how many were heap-only, commits, deadlocks, and bytes of WAL."""
    table = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'agents_agentstate'"
    transactions = "SELECT xact_commit, deadlocks FROM pg_stat_database WHERE datname = current_database()"
    sql = f"SELECT t.*, c.*, (pg_current_wal_lsn() - '0/0')::bigint FROM ({table}) t, ({transactions}) c"
    row = connection.execute(sql.encode()).fetchone()
    assert row is not None
    updates, hot, committed, deadlocks, wal = row
    return updates, hot, committed, deadlocks, wal


def read_sizes(connection: psycopg.Connection) -> dict[str, int]:
    return dict(connection.execute(TABLE_SIZES.encode()).fetchall())


def read_stored(database: str) -> Stored:
    with psycopg.connect(database) as connection:
        copies: Counter[str] = Counter()
        received: dict[int, list[float]] = defaultdict(list)
        for beat_id, at in connection.execute(RECEIVED.encode()):
            copies[beat_id] += 1
            received[int(beat_id.partition("-")[0])].append(at)
        rows = connection.execute(SIGNALS.encode()).fetchall()
        signals = [Signal(number_of(name), *rest) for name, *rest in rows]
        tokens = {number_of(name): total for name, total in connection.execute(TOTALS.encode())}
        outages = connection.execute(OUTAGES.encode()).fetchall()
        pending = connection.execute(PENDING.encode()).fetchone()
        shed = [at for (at,) in connection.execute(SHED.encode())]
        return Stored(copies, received, tokens, signals, outages, pending[0] if pending else 0, shed)


def number_of(name: str) -> int:
    """The agent's number, of its name."""
    return int(name.partition("-")[2])


def percentile(values: Iterable[float], share: float) -> float | None:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None
