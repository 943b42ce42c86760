#!/usr/bin/env python3
"""A fleet against the real processes: bench/fleet.py [--agents 10000] [--period 30] [--seconds 600].

Starts web, worker, sender and beat with the command lines of deploy/systemd on PostgreSQL and Redis: temporary ones,
or in a new database on the servers that DATABASE_URL and REDIS_URL name. Then agents on several hosts report with
tokens and a tool call, evenly spread over the period, whatever the server answers. Generator, server and database
share the machine.

    --silence N          N agents send their last heartbeat within one second, at half time
    --cut N:SECONDS      N agents, whole hosts, are cut off and come back within 5 s
    --slow-database KIND for 20 s: lock (every tenth hot row is locked), commit (500 ms each), refuse (no connections)
    --overload FACTOR    for 20 s, FACTOR times as many heartbeats as the server can carry, which is measured before

An incident is false when it is about an agent that reported on time, even if the server refused its heartbeats.
Prints one table, and with --targets a line per target. Exit 1 when something acknowledged was lost or an incident
was false.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import math
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

if importlib.util.find_spec("psycopg") is None and sys.prefix == sys.base_prefix:
    # Started by the system's Python: continue with the project's environment.
    python = Path(os.environ.get("VENV") or Path(__file__).resolve().parent.parent / ".venv") / "bin/python"
    if not python.exists():
        raise SystemExit("There is no environment yet. Run bin/run or bin/test once to create it.")
    os.execv(python, [str(python), *sys.argv])
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import fleet_faults
from bench.fleet_capacity import capacity
from bench.fleet_create import create_agents
from bench.fleet_load import CLIENT_TIMEOUT, KEYS_PER_PROJECT, Task
from bench.fleet_measure import Cost, Sent, read_cost, read_sent, read_stored
from bench.fleet_parts import Parts, create_projects, free_port, generator, running, services
from bench.fleet_plan import OBSERVED, Plan
from bench.fleet_receiver import receiver
from bench.fleet_report import Evidence, Figures, Target, figures, targets

# One generator process carries this many heartbeats per second with ease.
RATE_PER_GENERATOR = 700
# Between starting the generator and the first heartbeat.
HEAD_START = 2.0
# After the load: for messages that are under way. No healthy agent is due yet, its grace being 5 s at least.
LAST_MESSAGES = 3.0


def main() -> int:
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        plan, result = run(options)
    except KeyboardInterrupt:
        return 130
    aims = targets(plan, result) if options.targets else []
    print(as_json(plan, result, aims) if options.json else as_table(plan, result, aims, options))
    return 1 if result.lost or result.false_incidents else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--agents", type=int, default=10_000)
    parser.add_argument("--period", type=float, default=30, help="seconds between an agent's heartbeats")
    parser.add_argument("--seconds", type=float, default=600, help="measured time, after a warm-up")
    parser.add_argument("--projects", type=int, default=10)
    parser.add_argument("--per-host", type=int, default=100, help="agents that share a host")
    parser.add_argument("--silence", type=int, default=0, metavar="N")
    parser.add_argument("--cut", type=parse_cut, default=(0, 0.0), metavar="N:SECONDS")
    parser.add_argument("--slow-database", choices=list(fleet_faults.FAULTS))
    parser.add_argument("--slow-seconds", type=float, default=20)
    parser.add_argument("--overload", type=float, default=0, metavar="FACTOR")
    parser.add_argument("--observed", type=float, default=OBSERVED, help="seconds of load after the event's end")
    parser.add_argument("--web", type=int, default=2, help="web processes")
    parser.add_argument("--workers", type=int, default=1, help="worker processes of the detector")
    parser.add_argument("--senders", type=int, default=1, help="worker processes that send notifications")
    parser.add_argument("--targets", action="store_true", help="compare with the targets")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--logs", type=Path, help="folder for the processes' logs (default: a temporary one)")
    return checked(parser, parser.parse_args())


def parse_cut(text: str) -> tuple[int, float]:
    agents, _, seconds = text.partition(":")
    return int(agents), float(seconds)


def checked(parser: argparse.ArgumentParser, options: argparse.Namespace) -> argparse.Namespace:
    if min(options.agents, options.projects, options.per_host, options.web, options.workers, options.senders) < 1:
        parser.error("Numbers of agents, projects, hosts and processes start at 1.")
    if options.silence + options.cut[0] > options.agents:
        parser.error("More agents are silenced and cut off than there are.")
    if options.overload and (options.silence or options.cut[0] or options.slow_database):
        parser.error("An overload is measured on its own.")
    if options.period < 1:
        parser.error("The shortest period is 1 s.")
    return options


def plan_of(options: argparse.Namespace, carried: float = 0) -> Plan:
    """The plan of a run that starts now, on a server that carries so many heartbeats per second."""
    return Plan(
        agents=options.agents,
        period=options.period,
        seconds=options.seconds,
        projects=options.projects,
        per_host=options.per_host,
        start=time.time() + HEAD_START,
        silence=options.silence,
        cut=options.cut[0],
        cut_seconds=options.cut[1],
        slow_seconds=options.slow_seconds if options.slow_database else 0,
        overload_rate=options.overload * carried,
        observed=options.observed,
    )


def run(options: argparse.Namespace) -> tuple[Plan, Figures]:
    """Start everything, drive the load, end everything, and judge what it left behind."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="watchdog-fleet-"))
        data = stack.enter_context(services())
        url, arrivals = stack.enter_context(receiver())
        logs = options.logs or Path(folder)
        logs.mkdir(parents=True, exist_ok=True)
        counts = {"web": options.web, "worker": options.workers, "sender": options.senders}
        parts = Parts(data, logs, counts, free_port())
        say("Preparing the database")
        env = parts.env(folder)
        parts.prepare(env)
        if options.slow_database:
            fleet_faults.prepare(options.slow_database, data)
        keys = create_projects(env, options.projects, KEYS_PER_PROJECT, url)
        say("Starting the processes")
        with running(parts, env):
            say(f"Creating {options.agents:,} agents")
            rate = create_agents(plan_of(options), keys, parts.port)
            carried = capacity(plan_of(options), keys, parts.port) if options.overload else 0
            plan, sent, before, after = drive(plan_of(options, carried), options, parts, keys, Path(folder))
        stored = read_stored(data.database)
        return plan, figures(Evidence(plan, rate, sent, stored, list(arrivals), before, after, carried))


def drive(
    plan: Plan, options: argparse.Namespace, parts: Parts, keys: list[list[str]], folder: Path
) -> tuple[Plan, list[Sent], Cost, Cost]:
    """The load itself, with its event, and the costs at both ends of the measured time."""
    count = max(1, math.ceil(plan.highest_rate / RATE_PER_GENERATOR))
    files = [folder / f"sent-{number}" for number in range(count)]
    tasks = [Task(plan, parts.port, keys, n, count, str(files[n])).dump() for n in range(count)]
    with generator(tasks) as processes:
        say(f"Warming up for {plan.warm_up:.0f} s")
        wait_until(plan.measured_from, parts.check)
        before = read_cost(parts)
        say(f"Measuring for {plan.until - plan.measured_from:.0f} s")
        slow_down_at_half_time(options, plan, parts)
        wait_until(plan.until, parts.check)
        after = read_cost(parts)
        wait_until(plan.until + LAST_MESSAGES, parts.check)
        for process in processes:
            process.wait(CLIENT_TIMEOUT + 10)
    return plan, read_sent(files), before, after


def slow_down_at_half_time(options: argparse.Namespace, plan: Plan, parts: Parts) -> None:
    if options.slow_database:
        wait_until(plan.event_at, parts.check)
        say(f"The database is slow ({options.slow_database}) for {plan.slow_seconds:.0f} s")
        fleet_faults.start(options.slow_database, parts.services, plan.slow_seconds)


def wait_until(at: float, check: Callable[[], None]) -> None:
    while (left := at - time.time()) > 0:
        check()
        time.sleep(min(left, 1))


def say(text: str) -> None:
    print(f"{text} …", file=sys.stderr, flush=True)


# Output


def as_json(plan: Plan, result: Figures, aims: list[Target]) -> str:
    judged = [{**target._asdict(), "met": target.is_met} for target in aims]
    return json.dumps({"plan": json.loads(plan.dump()), **result.as_dict(), "targets": judged})


def as_table(plan: Plan, result: Figures, aims: list[Target], options: argparse.Namespace) -> str:
    rows = [*load_rows(plan, result, options), *incident_rows(plan, result), *cost_rows(result)]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {text}" for name, text in rows]
    return "\n".join([*lines, *([""] if aims else []), *target_lines(aims)])


def load_rows(plan: Plan, result: Figures, options: argparse.Namespace) -> list[tuple[str, str]]:
    processes = f"{options.web} web, {options.workers} worker, {options.senders} sender; {os.cpu_count()} cores"
    span = plan.until - plan.measured_from
    rows = [
        ("fleet", f"{plan.agents:,} agents on {plan.hosts} hosts, every {plan.period:g} s, {span:.0f} s measured"),
        ("processes", processes),
        ("created", f"{result.created_per_second:,.0f} agents/s, in batches"),
        ("heartbeats", f"{result.sent:,} sent, {result.answered:,} answered 200, {result.stored:,} stored"),
        ("lost", f"{result.lost:,} acknowledged but not stored"),
        (
            "stored wrong",
            f"{result.stored_twice:,} heartbeats stored twice, {result.wrong_sums:,} agents with wrong sums",
        ),
        ("outcomes", ", ".join(f"{name}: {count:,}" for name, count in result.outcomes.items())),
        ("rate", f"{result.rate:.1f} heartbeats/s, sent at most {number(result.generator_late_ms)} ms late (p99)"),
        ("latency", f"{row_of(result.latency_ms)} ms"),
    ]
    during = [("latency, event", f"{row_of(result.event_latency_ms)} ms")]
    return rows + (during if result.event_latency_ms["p50"] is not None else [])


def incident_rows(plan: Plan, result: Figures) -> list[tuple[str, str]]:
    repeated = f"{result.repeated_messages:,} repeated, at most {result.max_copies} of one event"
    outages = ", ".join(f"{part} {seconds:.0f} s" for part, seconds in result.outages.items()) or "none"
    rows = [
        ("false incidents", f"{result.false_incidents:,}"),
        *(("", example) for example in result.false_examples),
        ("due agents", f"{result.due:,}; {result.missed:,} without incident, {result.unreported:,} without message"),
        ("incidents", f"{result.incidents:,}"),
        ("to incident", f"{row_of(result.to_incident)} s after the deadline"),
        ("to message", f"{row_of(result.to_message)} s after the deadline"),
        ("messages", f"{result.messages:,} arrived, {repeated}, {result.pending_deliveries:,} pending"),
        ("own outages", outages),
    ]
    if plan.cut:
        after = number(result.recovered_after)
        rows.append(("recovered", f"all {after} s after the return began, {result.not_recovered:,} not at all"))
    if plan.trouble_seconds:
        cause = "overload" if plan.overload_rate else "slow database"
        rows.append(("well again", f"{number(result.well_again_after)} s after the {cause} ended"))
    return rows + (overload_rows(plan, result) if plan.overload_rate else [])


def overload_rows(plan: Plan, result: Figures) -> list[tuple[str, str]]:
    came = f"{result.event_rate:,.0f}/s came for {plan.trouble_seconds:.0f} s"
    return [
        ("overload", f"{result.capacity:,.0f} heartbeats/s carried, {came}"),
        ("shed", f"{result.shed:,} stored without detail, {result.refused:,} refused with 429"),
    ]


def cost_rows(result: Figures) -> list[tuple[str, str]]:
    grown = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in result.growth.items())
    rows = [("CPU", f"{result.cpu_parts:.2f} cores for all parts")]
    for name, share in result.cpu.items():
        memory = f"{result.memory_mb[name]:.0f} MB ({result.memory_growth_mb[name]:+.0f})"
        rows.append((f"  {name}", f"{share:.2f} cores, {memory}"))
    hot = "no updates" if result.hot_share is None else f"{result.hot_share:.1%} of the hot rows' updates"
    return [
        *rows,
        ("heap-only", hot),
        ("per heartbeat", f"{result.wal_per_heartbeat:,.0f} bytes of WAL, {result.commits_per_heartbeat:.2f} commits"),
        ("deadlocks", f"{result.deadlocks:,}"),
        ("growth", grown or "none"),
    ]


def row_of(values: dict[str, float | None]) -> str:
    return ", ".join(f"{name} {number(value)}" for name, value in values.items())


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f}"


def target_lines(aims: list[Target]) -> list[str]:
    width = max((len(target.name) for target in aims), default=0)
    return [target_line(target, width) for target in aims]


def target_line(target: Target, width: int) -> str:
    word = "met   " if target.is_met else "MISSED"
    return (
        f"{word}  {target.name:<{width}}  {number(target.measured)} of at most {target.limit:g} {target.unit}".rstrip()
    )


if __name__ == "__main__":
    sys.exit(main())
