#!/usr/bin/env python3
"""Server-side page times with many agents: bench/pages.py [--agents 1000] [--beats 200000] [--times 40].

Fills a new SQLite database, or the empty one in DATABASE_URL (`bin/services` starts one), with agents in four projects,
half of them with problems and incidents; with two heartbeats per minute and agent, the last ten minutes not finally
rolled up; and with rollups: two hours of minutes for all agents, 90 days of hours and days for every tenth. Then
Django's test client requests each page as an owner who is also the operator: everything the server does, including
templates, without the network.

With `--full`, on PostgreSQL only, all agents have all rollups that are kept: two days of minutes, 90 days of hours and
days.

    bin/services --folder /var/tmp bench/pages.py --beats 10000000 --full

measures with ten million heartbeats and five million rollups of a thousand agents; it needs about 3 GB.

Columns: milliseconds at the median and the 95th percentile, queries, kilobytes. The target is 100 ms. Exits with 1 if a
median exceeds it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
TARGET_MS = 100
STATUSES = ("ok", "ok", "ok", "ok", "ok", "down", "stalled", "warning", "waiting", "stopped")
KINDS = {"down": "missed_heartbeat", "stalled": "stalled", "warning": "loop"}
CHUNK = 5_000
# Calls by tool in a rollup: a dozen tools, three within a minute.
TOOLS = {f"tool_number_{n}": 12 - n for n in range(12)}
FEW_TOOLS = {f"tool_number_{n}": 1 for n in range(3)}


def prepare(folder: str) -> None:
    """Set up Django with a separate database."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "watchdog_project.settings"
    os.environ |= {"DATA_DIR": folder, "BASE_URL": "http://localhost"}
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    from teams.models import User

    if User.objects.exists():
        raise SystemExit("This database is not empty. Use an empty one.")


def in_chunks(model: Any, rows: Iterator[Any]) -> None:
    while chunk := list(islice(rows, CHUNK)):
        model.objects.bulk_create(chunk)


def fill(agents: int, beats: int, full: bool, now: datetime) -> tuple[Any, list[Any]]:
    """Returns the owner and the agents; the first agent has a long history and an incident."""
    from billing.services import set_plan
    from teams import services
    from teams.models import User

    owner = User.objects.create_superuser("owner@example.com", "correct horse battery")
    team = services.create_team(owner=owner, name="Research")
    set_plan(team=team, plan="enterprise", actor="bench")
    projects = [services.create_project(team=team, name=f"Project {n}", actor=owner.email) for n in range(4)]
    projects[0].status_page, projects[0].status_address = "named", "status"
    projects[0].save()
    made = make_agents(projects, agents, now)
    make_incidents(made, now)
    if full:
        make_full(beats // agents, now)
    else:
        make_rollups(made, now)
        make_beats(made, beats, now)
    return owner, made


def make_agents(projects: list[Any], count: int, now: datetime) -> list[Any]:
    from agents.models import Agent, AgentMemory, AgentName, AgentState

    made = Agent.objects.bulk_create(
        Agent(
            project=projects[n % len(projects)],
            name=f"agent-{n:05}",
            labels={"env": ("prod", "staging", "test")[n % 3], "team": f"t{n % 10}"},
            created_at=now - timedelta(days=90),
        )
        for n in range(count)
    )
    AgentName.objects.bulk_create(AgentName(project=agent.project, agent=agent, name=agent.name) for agent in made)
    AgentMemory.objects.bulk_create(AgentMemory(agent=agent) for agent in made)
    AgentState.objects.bulk_create(_state(agent, n, now) for n, agent in enumerate(made))
    return made


def _state(agent: Any, n: int, now: datetime) -> Any:
    from agents.models import AgentState

    return AgentState(
        agent=agent,
        status=STATUSES[n % len(STATUSES)] if n else "stalled",
        beats=100_000,
        declared_interval=30.0,
        last_beat_at=now - timedelta(seconds=n % 40),
        last_progress_at=now - timedelta(seconds=n % 90),
        day=now.date(),
        tokens_today=120_400,
        cost_today=1_000_000 + n * 9_000,
        cost_limit=10_000_000,
        source=f"1/10.0.{n % 7}.{n % 250}/web-{n % 50}",
    )


def make_incidents(agents: list[Any], now: datetime) -> None:
    """An open incident per agent with problems, and a hundred resolved ones for every tenth agent."""
    from agents.models import AgentState, Incident, Signal

    states = {state.agent_id: state for state in AgentState.objects.all()}
    for agent in agents:
        kind = KINDS.get(states[agent.pk].status)
        if kind:
            what: Any = {"agent": agent, "kind": kind, "severity": "critical", "reason": "No progress for 47 minutes"}
            what |= {"started_at": now - timedelta(minutes=47), "opened_at": now - timedelta(minutes=42)}
            incident = Incident.objects.create(project=agent.project, **what)
            Signal.objects.create(incident=incident, **what)
            AgentState.objects.filter(agent=agent).update(incident=incident, incident_kind=kind)
    in_chunks(Incident, _resolved(agents[::10], now))


def _resolved(agents: list[Any], now: datetime) -> Iterator[Any]:
    from agents.models import Incident

    for agent in agents:
        for n in range(1, 101):
            yield Incident(
                project=agent.project,
                agent=agent,
                kind="stalled",
                severity="critical",
                reason="No progress for 12 minutes",
                started_at=now - timedelta(hours=20 * n + 1),
                opened_at=now - timedelta(hours=20 * n + 1),
                resolved_at=now - timedelta(hours=20 * n),
            )


def make_rollups(agents: list[Any], now: datetime) -> None:
    from agents.models import Rollup

    hour, sums = now.replace(minute=0, second=0, microsecond=0), {"tokens": 900, "cost": 31_000, "tool_calls": 3}
    sums |= {"memory_mb": 300.5, "gap": 30.2, "tools": FEW_TOOLS}
    minute, day = now.replace(second=0, microsecond=0), hour.replace(hour=0)
    spans = [(agents, "m", minute, timedelta(minutes=1), 120), (agents[::10], "h", hour, timedelta(hours=1), 90 * 24)]
    for whose, span, newest, step, count in [*spans, (agents[::10], "d", day, timedelta(days=1), 90)]:
        rows = (
            Rollup(agent=agent, span=span, start=newest - n * step, beats=2, progress=n % 3, errors=n % 29 == 7, **sums)
            for agent in whose
            for n in range(count)
        )
        in_chunks(Rollup, rows)


def make_beats(agents: list[Any], count: int, now: datetime) -> None:
    """Two per minute and agent until now; those older than ten minutes are finally rolled up."""
    from agents.models import Heartbeat
    from agents.storage import partitions

    rounds = max(1, count // len(agents))
    whens = [now - timedelta(seconds=30 * back) for back in range(rounds, 0, -1)]
    partitions.make(now.date())
    rows = (
        Heartbeat(
            agent=agent, day=at.date(), received_at=at, spent_at=at, status="ok", progress=True, tokens=40, gap=30.0
        )
        for at in whens
        for agent in agents
    )
    in_chunks(Heartbeat, rows)
    closed = Heartbeat.objects.filter(received_at__lt=now - timedelta(minutes=11)).order_by("-id").first()
    rolled_up(closed.pk if closed else 0, now)


def rolled_up(read_to: int, now: datetime) -> None:
    from agents.models import Pulse

    Pulse.objects.update_or_create(name="rollup", defaults={"at": now - timedelta(seconds=40), "read_to": read_to})


def make_full(rounds: int, now: datetime) -> None:
    """All heartbeats and rollups that are kept, generated by PostgreSQL, oldest first as in production."""
    from django.db import connection

    from agents.storage import partitions

    begin, hour = now - timedelta(seconds=30 * rounds), now.replace(minute=0, second=0, microsecond=0)
    minute, day = now.replace(second=0, microsecond=0), hour.replace(hour=0)
    for back in range((now.date() - begin.date()).days, -1, -1):
        partitions.make(now.date() - timedelta(days=back))
    spans = [("d", day, timedelta(days=1), 89, 2_880), ("h", hour, timedelta(hours=1), 90 * 24, 120)]
    with connection.cursor() as cursor:
        for span, newest, step, count, beats in [*spans, ("m", minute, timedelta(minutes=1), 2 * 24 * 60, 2)]:
            tools = json.dumps(FEW_TOOLS if span == "m" else TOOLS)
            cursor.execute(FULL_SUMS, [span, beats, tools, newest - count * step, newest, step])
        cursor.execute(FULL_BEATS, [begin, now, timedelta(seconds=30)])
        cursor.execute("SELECT max(id) FROM agents_heartbeat")
        last = cursor.fetchone()[0]
        cursor.execute("SELECT count(*) FROM agents_agent")
        rolled_up(last - 22 * cursor.fetchone()[0], now)


FULL_SUMS = """
    INSERT INTO agents_rollup
        (agent_id, span, start, beats, errors, progress, tokens, cost, priced, unpriced, tool_calls, memory_mb, gap,
         tools)
    SELECT a.id, %s, t, %s, 0, 1, 900, 31000, 31000, 0, 3, 300.5, 30.2, %s
    FROM generate_series(%s::timestamptz, %s, %s) t CROSS JOIN agents_agent a ORDER BY t
"""
FULL_BEATS = """
    INSERT INTO agents_heartbeat
        (agent_id, day, received_at, spent_at, status, progress, tokens, cost, priced, unpriced, tool_calls, memory_mb,
         gap, content)
    SELECT a.id, (t AT TIME ZONE 'UTC')::date, t, t, 'ok', true, 40, 2000, 2000, 0, 1, 300.5, 30,
        '{"message": "The next page", "calls": [{"name": "tool_number_1"}]}'
    FROM generate_series(%s::timestamptz, %s, %s) t CROSS JOIN agents_agent a ORDER BY t
"""


def pages(agent: Any) -> list[tuple[str, str, dict[str, str]]]:
    poll, listed = {"HX-Request": "true"}, "/admin/agents/agent/"
    page = f"{listed}{agent.pk}/"
    asked = f"?project__id__exact={agent.project_id}&label=env%3Dprod&status=down"
    found = [
        ("plan and usage", "/admin/billing/subscription/", {}),
        ("installation", "/admin/installation/", {}),
        ("installation, poll", "/admin/installation/?part=now", poll),
        ("status page", "/status/status/", {}),
        ("badge", f"/badge/status/agent/{agent.name}.svg", {}),
        ("fleet", "/admin/", {}),
        ("fleet, live part", "/admin/fleet/", poll),
        ("fleet, filtered", f"/admin/{asked}", {}),
        ("fleet, filtered, live", f"/admin/fleet/{asked}", poll),
        ("fleet, searched, live", "/admin/fleet/?q=web-4", poll),
        ("fleet, all fields, live", f"/admin/fleet/{asked}&q=agent", poll),
        ("agents", listed, {}),
        ("agents, poll", listed, poll),
        ("agents, filtered", f"{listed}?status=down&label=env%3Dprod", {}),
        ("agents, searched", f"{listed}?q=web-4", {}),
        ("incidents", "/admin/agents/incident/", {}),
        *[(f"agent, {span}", f"{page}change/?span={span}", {}) for span in ("24h", "7d", "90d")],
    ]
    from django.contrib import admin

    parts = admin.site._registry[type(agent)].live_parts
    return found + [(f"agent, {part}", f"{page}live/{part}/", poll) for part in parts]


def measure(browser: Any, path: str, headers: dict[str, str], times: int) -> tuple[float, float, int, int]:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    def ask() -> tuple[float, int]:
        begin = time.perf_counter()
        answer = browser.get(path, headers=headers)
        if answer.status_code != 200:
            raise SystemExit(f"{path} answered {answer.status_code}")
        return (time.perf_counter() - begin) * 1_000, len(answer.content)

    for _ in range(3):
        ask()
    taken = sorted(ask()[0] for _ in range(times))
    with CaptureQueriesContext(connection) as seen:
        _, size = ask()
    return statistics.median(taken), taken[int(0.95 * (len(taken) - 1))], len(seen), size


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--agents", type=int, default=1_000)
    parser.add_argument("--beats", type=int, default=200_000)
    parser.add_argument("--times", type=int, default=40)
    parser.add_argument("--full", action="store_true", help="all rollups that are kept, for all agents")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="watchdog-pages-") as folder:
        prepare(folder)
        from django.db import connection
        from django.test import Client
        from django.utils import timezone

        begin = time.perf_counter()
        owner, made = fill(options.agents, options.beats, options.full, timezone.now())
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        print(
            f"{connection.vendor}, {options.agents} agents, filled in {time.perf_counter() - begin:.0f} s", flush=True
        )
        browser = Client(SERVER_NAME="localhost")
        browser.force_login(owner, backend="django.contrib.auth.backends.ModelBackend")
        slow = show(browser, made[0], options.times)
        connection.close()
    return 1 if slow else 0


def show(browser: Any, agent: Any, times: int) -> list[str]:
    """Print a line per page; returns the pages above the target."""
    print(f"{'page':24} {'p50 ms':>7} {'p95 ms':>7} {'queries':>7} {'kB':>5}")
    slow = []
    for name, path, headers in pages(agent):
        median, p95, queries, size = measure(browser, path, headers, times)
        slow += [name] if median > TARGET_MS else []
        mark = "  over" if median > TARGET_MS else ""
        print(f"{name:24} {median:7.1f} {p95:7.1f} {queries:7} {size // 1_000:5}{mark}", flush=True)
    return slow


if __name__ == "__main__":
    sys.exit(main())
