#!/usr/bin/env python3
"""What the detector costs per due agent: bench/sweep.py [--agents 10000] [--projects 10].

Fills a new SQLite database, or the empty one in DATABASE_URL (`bin/services` starts one), with agents on hosts of 100,
each with a heartbeat every 30 s; every project has a webhook channel. Then agents fall due, and one sweep in this
process reviews them:

    silent     they stopped: each opens an incident, with its signal, event and delivery
    recovered  the same agents report again, and their incidents are resolved
    standing   they are still silent: only the time in the reasons changes
    moved      they are healthy: their heartbeats only moved their deadlines
    asked      they are healthy, but somebody changed something: all rules are asked
    read       they are healthy, and each has a heartbeat with a tool call to read

With `--idle`, sweeps for which nothing is due come first. `--agents 1000000` shows that the cost depends on what is
due, not on what there is.

Columns: due agents, statements and milliseconds of this process's CPU per due agent, and milliseconds in all.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
PERIOD = 30.0
PER_HOST = 100
WRITE_CHUNK = 5_000
COLUMNS = ("case", "due", "statements", "CPU ms", "ms in all")


def main() -> int:
    options = parse()
    with tempfile.TemporaryDirectory(prefix="watchdog-sweep-") as folder:
        prepare(folder)
        fleet = Fleet(options.agents, options.projects)
        rows = list(idle(fleet)) if options.idle else []
        rows += [row for due in options.due for row in measure(fleet, due)]
    print(json.dumps([row._asdict() for row in rows]) if options.json else as_table(rows))
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--agents", type=int, default=10_000)
    parser.add_argument("--projects", type=int, default=10)
    parser.add_argument("--due", type=int, nargs="+", default=[10, 1_000])
    parser.add_argument("--idle", action="store_true", help="also sweep when nothing is due")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def prepare(folder: str) -> None:
    """Set up Django with a database of its own."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "watchdog_project.settings"
    os.environ |= {"DATA_DIR": folder, "BASE_URL": "http://localhost"}
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    from alerts import wakeup
    from teams.models import User

    # There is no broker. One attempt tells, and the next one is never made.
    wakeup.BACKOFF_SECONDS = float("inf")  # type: ignore[misc]
    if User.objects.exists():
        raise SystemExit("This database is not empty. Use an empty one.")
    # As workers do.
    gc.collect()
    gc.freeze()


class Row(NamedTuple):
    """One case, measured."""

    case: str
    due: int
    statements: float
    cpu_ms: float
    ms_in_all: float


class Fleet:
    """Healthy agents, all of which are next reviewed in an hour."""

    def __init__(self, agents: int, projects: int) -> None:
        from django.utils import timezone

        self.now = timezone.now()
        self.ids: list[int] = []
        self._fill(agents, self._projects(projects))

    def _projects(self, count: int) -> list[Any]:
        from alerts.services import create_channel
        from billing.services import set_plan
        from teams import services
        from teams.models import User

        owner = User.objects.create_superuser("owner@example.com", "correct horse battery")
        team = services.create_team(owner=owner, name="Research")
        set_plan(team=team, plan="enterprise", actor="bench")
        projects = [services.create_project(team=team, name=f"Project {n}", actor=owner.email) for n in range(count)]
        for project in projects:
            config = {"url": "https://hooks.example.com/watchdog"}
            create_channel(project=project, kind="webhook", name="Hook", config=config, actor=owner.email)
        return projects

    def _fill(self, count: int, projects: Sequence[Any]) -> None:
        """One agent by the ORM, the others as its copies by SQL: a million take a minute."""
        from agents.models import Agent, AgentMemory, AgentName, AgentState

        first = Agent.objects.create(project=projects[0], name="agent-0", interval=PERIOD)
        AgentName.objects.create(agent=first, project=first.project, name=first.name)
        AgentMemory.objects.create(agent=first)
        AgentState.objects.create(**self._state(first))
        share, pk = -(-count // len(projects)), projects[0].pk
        # New projects have consecutive ids.
        copies(Agent, 1, count - 1, name="'agent-' || n", project_id=f"{pk} + n / {share}")
        self.ids = list(Agent.objects.order_by("pk").values_list("pk", flat=True))
        others = self.ids[0] + 1, self.ids[-1]
        number = f"(n - {self.ids[0]})"
        names = {"name": f"'agent-' || {number}", "project_id": f"{pk} + {number} / {share}"}
        copies(AgentName, *others, agent_id="n", **names)
        copies(AgentMemory, *others, agent_id="n")
        host = f"{number} / {PER_HOST}"
        copies(AgentState, *others, agent_id="n", source=f"'1/10.0.' || {host} / 250 || '.' || {host} % 250")
        analyze()

    def _state(self, agent: Any) -> dict[str, Any]:
        from agents.models import Status

        return {
            "agent": agent,
            "check_at": self.now + timedelta(hours=1),
            "beats": 10,
            "last_beat_at": self.now,
            "last_progress_at": self.now,
            "usual_gap": PERIOD,
            "reported": "ok",
            "source": "1/10.0.0.0",
            "status": Status.OK,
        }

    def spread(self, due: int) -> list[int]:
        """Some agents, spread over all hosts and projects."""
        return self.ids[:: max(1, len(self.ids) // due)][:due]

    def make_due(self, ids: Sequence[int], **values: Any) -> None:
        from agents.models import AgentState

        AgentState.objects.filter(agent_id__in=ids).update(check_at=self.now, **values)

    def add_calls(self, ids: Sequence[int]) -> None:
        from agents.models import Heartbeat

        call = {"name": "search", "args_hash": "a1", "ok": True}
        for n, agent_id in enumerate(ids):
            Heartbeat.objects.create(
                agent_id=agent_id,
                day=self.now.date(),
                received_at=self.now,
                spent_at=self.now,
                status="ok",
                progress=True,
                tokens=100,
                tool_calls=1,
                content={"calls": [{**call, "args_hash": str(n)}]},
            )


def copies(model: Any, first: int, last: int, **columns: str) -> None:
    """Copy the model's only row once for each number `n`, with other values in the columns that are given as SQL."""
    from django.db import connection

    if first > last:
        return
    table = model._meta.db_table
    fields = [field for field in model._meta.concrete_fields if field.column in columns or not field.primary_key]
    names = ", ".join(field.column for field in fields)
    values = ", ".join(columns.get(field.column, f"t.{field.column}") for field in fields)
    series = f"WITH RECURSIVE s(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM s WHERE n < {last})"
    with connection.cursor() as cursor:
        cursor.execute(f"{series} INSERT INTO {table} ({names}) SELECT {values} FROM s CROSS JOIN {table} t")


def in_chunks(model: Any, rows: Any) -> None:
    rows = iter(rows)
    while chunk := list(islice(rows, WRITE_CHUNK)):
        model.objects.bulk_create(chunk)


def analyze() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def measure(fleet: Fleet, due: int) -> Iterator[Row]:
    ids = fleet.spread(due)
    minute = timedelta(minutes=1)
    fleet.make_due(ids, last_beat_at=fleet.now - 2 * minute)
    yield sweep("silent", due, fleet.now)
    fleet.now += minute
    fleet.make_due(ids)
    yield sweep("standing", due, fleet.now)
    fleet.make_due(ids, last_beat_at=fleet.now, last_progress_at=fleet.now)
    yield sweep("recovered", due, fleet.now)
    fleet.now += 10 * minute
    everyone(fleet.now)
    fleet.make_due(ids, planned_at=fleet.now, reviewed_at=fleet.now - minute)
    yield sweep("moved", due, fleet.now)
    fleet.make_due(ids)
    yield sweep("asked", due, fleet.now)
    fleet.make_due(ids)
    fleet.add_calls(ids)
    yield sweep("read", due, fleet.now)


def idle(fleet: Fleet) -> Iterator[Row]:
    """The best of some sweeps without work: the first one loads code and opens files."""
    yield min((sweep("idle", 0, fleet.now) for _ in range(20)), key=lambda row: row.ms_in_all)


def everyone(now: datetime) -> None:
    """All agents report."""
    from agents.models import AgentState

    AgentState.objects.update(last_beat_at=now, last_progress_at=now)


def sweep(case: str, due: int, now: datetime) -> Row:
    from django.db import connection

    from agents.models import Pulse
    from agents.review import review

    Pulse.objects.update(at=now - timedelta(seconds=1))
    statements = 0

    def count(execute: Any, *args: Any) -> Any:
        nonlocal statements
        statements += 1
        return execute(*args)

    with connection.execute_wrapper(count):
        began, cpu = time.perf_counter(), time.process_time()
        reviewed = last = review.sweep(now)
        # One sweep ends after some seconds, and the next one goes on.
        while reviewed < due and last:
            reviewed += (last := review.sweep(now))
        cpu, took = time.process_time() - cpu, time.perf_counter() - began
    if reviewed != due:
        raise SystemExit(f"{case}: {reviewed} of {due} due agents were reviewed.")
    return Row(case, due, statements / max(1, due), cpu / max(1, due) * 1000, took * 1000)


def as_table(rows: Sequence[Row]) -> str:
    lines = [
        COLUMNS,
        *((r.case, f"{r.due:,}", f"{r.statements:.2f}", f"{r.cpu_ms:.2f}", f"{r.ms_in_all:,.1f}") for r in rows),
    ]
    return "\n".join(f"{line[0]:<10}" + "".join(f"{cell:>12}" for cell in line[1:]) for line in lines)


if __name__ == "__main__":
    sys.exit(main())
