#!/usr/bin/env python3
"""What roll-ups cost per minute: bench/rollups.py [--agents 10000] [--period 30] [--minutes 5].

Fills a new SQLite database, or the empty one in DATABASE_URL (`bin/services` starts one), with agents whose heartbeats
bring tokens and a tool call, for a quarter of an hour. Then time goes on minute by minute, and each minute is rolled up
in this process. Five minutes contain one in which hours and days are added up.

Prints, per minute, seconds of CPU of this process and of its PostgreSQL backend, and the share of one core.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from bench.fleet_parts import cpu_seconds
from bench.sweep import Fleet, in_chunks, prepare

BEFORE = 15
MINUTE = timedelta(minutes=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--agents", type=int, default=10_000)
    parser.add_argument("--period", type=float, default=30, help="seconds between an agent's heartbeats")
    parser.add_argument("--minutes", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="watchdog-rollups-") as folder:
        prepare(folder)
        fleet = Fleet(options.agents, 10)
        now = fleet.now
        for back in range(BEFORE, 0, -1):
            report(fleet, now - back * MINUTE, options.period)
        roll_up(now)
        costs = [minute(fleet, now + n * MINUTE, options.period) for n in range(options.minutes)]
    for name, values in (("this process", [c for c, _ in costs]), ("PostgreSQL", [c for _, c in costs])):
        mean = sum(values) / len(values)
        print(f"{name:<14}{', '.join(f'{value:.2f}' for value in values)} s per minute; {mean / 60:.1%} of a core")


def minute(fleet: Fleet, start: datetime, period: float) -> tuple[float, float]:
    report(fleet, start, period)
    return roll_up(start + MINUTE)


def report(fleet: Fleet, start: datetime, period: float) -> None:
    """One minute's heartbeats."""
    from agents.models import Heartbeat

    beats = []
    for n in range(round(60 / period)):
        for number, agent_id in enumerate(fleet.ids):
            at = start + timedelta(seconds=n * period + period * number / len(fleet.ids))
            content = {"calls": [{"name": f"tool-{number % 7}", "args_hash": str(n)}]}
            given: dict[str, Any] = {"received_at": at, "spent_at": at, "day": at.date(), "content": content}
            beats.append(Heartbeat(agent_id=agent_id, status="ok", progress=True, tokens=9, tool_calls=1, **given))
    in_chunks(Heartbeat, beats)


def roll_up(now: datetime) -> tuple[float, float]:
    """Seconds of CPU: of this process, and of the database's."""
    from django.db import connection

    from agents.storage import rollups

    backend = [connection.connection.info.backend_pid] if connection.vendor == "postgresql" else []
    cpu, server = time.process_time(), cpu_seconds(backend)
    rollups.roll_up(now)
    return time.process_time() - cpu, cpu_seconds(backend) - server


if __name__ == "__main__":
    main()
