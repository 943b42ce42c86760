#!/usr/bin/env python
"""How fast alerts leave: messages per second to webhooks on this machine, with one channel and with ten, one dead.

    python bench/alerts.py [--incidents 1000] [--backlog 2500]

Starts sender and beat with the command lines of deploy/systemd on a temporary PostgreSQL and Redis, writes incidents
with three events each, and waits until every live channel has all of them. The dead channel accepts connections and
never answers; `--backlog` notifications wait for two more of its kind meanwhile. Fails if a message is lost, repeated
or overtakes an earlier one of its incident.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.fleet_parts import UNITS, Parts, cpu_seconds, free_port, part_of, run, services
from bench.fleet_receiver import Arrival, receiver

PARTS = ("sender", "beat")
PATIENCE = 300
EVENTS = ("opened", "acknowledged", "resolved")

CREATE = """
import io, json, os
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone
from agents.ingest.registration import create_agent
from agents.models import Incident, IncidentEvent, Signal
from alerts import outbox, services
from alerts.models import Delivery
from teams.models import Project

task, now = json.loads(os.environ["ALERTS_TASK"]), timezone.now()
words = ["--team", "Bench", "--project", task["name"], "--owner", "bench@example.com", "--plan", "enterprise", "--json"]
call_command("create_project", *words, stdout=io.StringIO())
project = Project.objects.get(name=task["name"])
agent = create_agent(project=project, name="bot", now=now)


def channel(url):
    return services.create_channel(project=project, kind="webhook", name=url, config={"url": url}, actor="bench")[0]


def event(kind):
    incident = Incident.objects.create(
        project=project, agent=agent, kind="loop", severity="warning", reason="`search` called 40 times",
        started_at=now, opened_at=now, resolved_at=now,
    )
    Signal.objects.create(
        incident=incident, agent=agent, kind="loop", severity="warning", reason=incident.reason, started_at=now,
        opened_at=now, cleared_at=now, evidence={"tool": "search", "calls": 40},
    )
    return [IncidentEvent.objects.create(incident=incident, kind=each, at=now, text="Loop") for each in kind]


dead = [channel(url) for url in task["dead"]]
for row in dead[1:]:
    Delivery.objects.bulk_create(
        Delivery(event=event(["opened"])[0], channel=row, message_id=outbox.new_message_id(), next_try_at=now)
        for _ in range(task["backlog"] // 2)
    )
    services.change_channel(channel=row, actor="bench", now=now, severity="critical")
live = [channel(url) for url in task["live"]]
with transaction.atomic():
    for _ in range(task["incidents"]):
        for each in event(task["events"]):
            outbox.enqueue(each)
"""

RELAY = """
import time
from django.utils import timezone
from alerts import outbox
outbox.relay(timezone.now())
began = time.monotonic()
outbox.relay(timezone.now())
print(time.monotonic() - began)
"""


@dataclass(frozen=True)
class Result:
    """What one run showed. `slowest` and `quickest` are the seconds until a live channel had everything."""

    messages: int
    seconds: float
    quickest: float
    slowest: float
    cpu: float

    def __str__(self) -> str:
        rate, cost = self.messages / self.seconds, self.cpu / self.messages * 1000
        spread = f"channels done after {self.quickest:.1f} to {self.slowest:.1f} s"
        return f"{rate:6,.0f} messages/s ({self.messages:,} in {self.seconds:.1f} s; {spread}; {cost:.2f} ms CPU each)"


@contextlib.contextmanager
def dead_receiver() -> Iterator[str]:
    """Accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"


def measure(parts: Parts, env: dict[str, str], live: int, dead: int, options: argparse.Namespace) -> Result:
    incidents = options.incidents // live
    with contextlib.ExitStack() as stack:
        receivers = [stack.enter_context(receiver()) for _ in range(live)]
        task = {
            "name": f"{live} live, {dead} dead",
            "live": [url for url, _ in receivers],
            "dead": [stack.enter_context(dead_receiver()) for _ in range(dead)],
            "backlog": options.backlog,
            "incidents": incidents,
            "events": EVENTS,
        }
        run([sys.executable, "manage.py", "shell", "-v0", "-c", CREATE], {**env, "ALERTS_TASK": json.dumps(task)})
        arrivals, senders = [each for _, each in receivers], parts.pids("sender")
        wait_for(arrivals[:1], 1, parts)
        before = cpu_seconds(senders)  # without the start of the process
        wait_for(arrivals, incidents * len(EVENTS), parts)
        cpu = cpu_seconds(senders) - before
        for each in arrivals:
            check(each, incidents)
        if dead:
            slow = run([sys.executable, "manage.py", "shell", "-v0", "-c", RELAY], env).split()[-1]
            print(f"    relay with {options.backlog:,} waiting for dead channels: {float(slow) * 1000:.0f} ms")
        return result(arrivals, cpu)


def wait_for(arrivals: list[list[Arrival]], messages: int, parts: Parts) -> None:
    end = time.monotonic() + PATIENCE
    while any(len(each) < messages for each in arrivals):
        parts.check()
        if time.monotonic() > end:
            raise SystemExit(f"Only {[len(each) for each in arrivals]} of {messages} arrived.\n{parts.last_lines()}")
        time.sleep(0.05)


def check(arrivals: list[Arrival], incidents: int) -> None:
    """Raise SystemExit when something was repeated, lost or overtaken."""
    by_incident = defaultdict(list)
    for each in arrivals:
        by_incident[each.incident].append(each.type.removeprefix("incident."))
    if len(by_incident) != incidents or any(types != list(EVENTS) for types in by_incident.values()):
        raise SystemExit("Messages were lost, repeated or out of order.")


def result(arrivals: list[list[Arrival]], cpu: float) -> Result:
    first = min(each[0].at for each in arrivals)
    ends = [each[-1].at - first for each in arrivals]
    return Result(sum(map(len, arrivals)), max(ends), min(ends), max(ends), cpu)


@contextlib.contextmanager
def started(parts: Parts, env: dict[str, str]) -> Iterator[None]:
    try:
        parts.start(env, PARTS)
        yield
    finally:
        parts.stop()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--incidents", type=int, default=1000, help="incidents with three messages each, per run")
    parser.add_argument("--backlog", type=int, default=2500, help="notifications that wait for two dead channels")
    options = parser.parse_args()
    with services() as found, tempfile.TemporaryDirectory(prefix="watchdog-alerts-") as folder:
        parts = Parts(found, Path(folder), {part_of(unit): 1 for unit in UNITS}, free_port())
        env = parts.env(folder)
        parts.prepare(env)
        with started(parts, env):
            print("1 channel:  ", measure(parts, env, 1, 0, options), flush=True)
            print("10 channels, one dead:", measure(parts, env, 9, 3, options), flush=True)


if __name__ == "__main__":
    main()
