#!/usr/bin/env python3
"""What a scrape of `/metrics` costs: bench/metrics.py [--agents 10000] [--scrapes 5].

Fills a new SQLite database, or the empty one in DATABASE_URL (`bin/services` starts one), with agents in one project,
a tenth of them with an open incident. Prints the median milliseconds per scrape (the whole request in this process),
its CPU milliseconds, and the numbers of statements and series.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import sweep


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--agents", type=int, default=10_000)
    parser.add_argument("--scrapes", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="watchdog-metrics-") as folder:
        sweep.prepare(folder)
        fleet = sweep.Fleet(options.agents, 1)
        open_incidents(fleet.ids[::10])
        print("    ms  CPU ms  statements  series")
        print(measured(options.scrapes))
    return 0


def open_incidents(agent_ids: list[int]) -> None:
    from django.utils import timezone

    from agents.models import Agent, Incident, Signal

    now = timezone.now()
    facts = {"kind": "stalled", "severity": "critical", "reason": "No progress", "started_at": now, "opened_at": now}
    agents = Agent.objects.filter(pk__in=agent_ids)
    incidents = [Incident(project_id=agent.project_id, agent=agent, **facts) for agent in agents]
    Incident.objects.bulk_create(incidents)
    Signal.objects.bulk_create([Signal(incident=each, agent_id=each.agent_id, **facts) for each in incidents])


def measured(scrapes: int) -> str:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    took, cpu, statements, body = [], [], 0, b""
    client = client_with_key()
    for _ in range(scrapes):
        began, worked = time.perf_counter(), time.process_time()
        with CaptureQueriesContext(connection) as queries:
            body = client.get("/metrics", HTTP_HOST="localhost").content
        took.append(time.perf_counter() - began)
        cpu.append(time.process_time() - worked)
        statements = len(queries)
    series = sum(1 for line in body.splitlines() if not line.startswith(b"#"))
    ms, cpu_ms = (1_000 * statistics.median(values) for values in (took, cpu))
    return f"{ms:6.0f} {cpu_ms:7.0f} {statements:11} {series:7}"


def client_with_key() -> Any:
    from django.test import Client

    from teams import services
    from teams.models import Project

    key = services.issue_key(project=Project.objects.get(), name="prometheus", scope="read", actor="bench")[1]
    return Client(headers={"Authorization": f"Bearer {key}"})


if __name__ == "__main__":
    sys.exit(main())
