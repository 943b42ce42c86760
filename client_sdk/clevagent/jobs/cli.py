"""The command line: `clevagent run --agent NAME -- COMMAND`, `clevagent ping|start|fail`, `clevagent check`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clevagent import check
from clevagent.jobs import report
from clevagent.names import agent_name
from clevagent.options import ENDPOINT
from clevagent.redact import clean
from clevagent.reporter import courier
from clevagent.serialization import moment
from clevagent.spool import Place, place_of
from clevagent.transport import Transport, parse_key

EVENTS = {"ping": "success", "start": "start", "fail": "fail"}
ZONES = "/zoneinfo/"
# Seconds between heartbeats of a running command.
INTERVAL = 30.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. `run` ends as its command does; `ping`, `start` and `fail` with 1 when not reported."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["check"]:
        return check.main(given)
    options = _parser().parse_args(given)
    options.agent = agent_name(options.agent)
    if not options.agent:
        return _say("name the agent with --agent or CLEVAGENT_AGENT", 2)
    return _run(options) if options.command == "run" else _report(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="clevagent", description="Report to a ClevAgent Watchdog server.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="check the connection, the API key, the clock and a first heartbeat")
    run = commands.add_parser("run", help="run a command as a job and report it")
    _add_common(run)
    run.add_argument("--cron", metavar="EXPRESSION", help='when it is expected, such as "0 2 * * *"')
    run.add_argument("--on-calendar", metavar="EXPRESSION", help="the same as in a systemd timer")
    run.add_argument("--period", type=float, metavar="SECONDS", help="the same as the time from run to run")
    run.add_argument("--time-zone", help="in which the expression is read; default: this machine's")
    run.add_argument("--grace", type=float, metavar="SECONDS", help="how late it may start")
    run.add_argument("--max-duration", type=float, metavar="SECONDS", help="how long it may take")
    run.add_argument("--interval", type=float, default=INTERVAL, metavar="SECONDS", help="between heartbeats")
    run.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    for name, what in (("ping", "succeeded"), ("start", "started"), ("fail", "failed")):
        command = commands.add_parser(name, help=f"report that a job {what}")
        _add_common(command)
        command.add_argument("--rid", help="a run ID, to tell overlapping runs apart")
        if name != "start":
            command.add_argument("--exit-status", type=int, help="other than 0 is a failure, also for ping")
        command.add_argument("message", nargs="?", default="")
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--agent", default=os.environ.get("CLEVAGENT_AGENT", ""), help="the job's name")
    parser.add_argument("--endpoint", default=os.environ.get("CLEVAGENT_ENDPOINT") or ENDPOINT)


def _transport(endpoint: str) -> tuple[Transport | None, str]:
    """The connection to the server, or why there is none."""
    key = os.environ.get("CLEVAGENT_API_KEY", "")
    if not key:
        return None, "no API key; set CLEVAGENT_API_KEY"
    try:
        return Transport(endpoint, key, timeout=report.TIMEOUT), ""
    except ValueError as error:
        return None, str(error)


def _report(options: argparse.Namespace) -> int:
    transport, why = _transport(options.endpoint)
    if transport is None:
        return _say(why, 1)
    exit_status = getattr(options, "exit_status", None)
    name = "fail" if exit_status else EVENTS[options.command]
    beat = report.event(options.agent, name, rid=options.rid, exit_status=exit_status)
    message = {"message": clean(options.message, report.MAX_MESSAGE)} if options.message else {}
    beat = {**beat, "progress": name != "fail", **message, "sent_at": moment(time.time())}
    place = _place()
    why = report.send_once(transport, beat, place)
    if not why:
        report.deliver(courier(transport, options.endpoint, place))
    transport.close()
    return _say(why, 1) if why else 0


def _place() -> Place | None:
    """Where to store what the server does not take."""
    return place_of(None, parse_key(os.environ["CLEVAGENT_API_KEY"]))


def _run(options: argparse.Namespace) -> int:
    command = options.argv[1:] if options.argv[:1] == ["--"] else options.argv
    if not command:
        return _say("name a command after --", 2)
    transport, why = _transport(options.endpoint)
    if transport is None:
        _say(f"the run is not reported: {why}", 0)
    # Only the command's own output appears.
    warnings.simplefilter("ignore")
    sender = courier(transport, options.endpoint, _place()) if transport else None
    reporter = report.Reporter(sender, options.agent, max(1.0, options.interval))
    try:
        from clevagent.jobs import process
    except ImportError:  # Windows has neither terminals to copy nor signals to pass on
        return _run_plainly(command, reporter, _schedule(options))
    try:
        running = process.Command(command, reporter.grown)
    except OSError as error:
        reporter.start(_schedule(options))
        status = process.NOT_FOUND if isinstance(error, FileNotFoundError) else process.NOT_EXECUTABLE
        reporter.end(status, None, str(error).encode())
        return _say(str(error), status)
    reporter.start(_schedule(options))
    code = running.wait()
    reporter.end(code, process.peak_memory_mb(), bytes(running.tail.data))
    running.leave()
    return process.end_like(code)


def _run_plainly(command: Sequence[str], reporter: report.Reporter, schedule: dict[str, Any] | None) -> int:
    reporter.start(schedule)
    try:
        code = subprocess.call(list(command))
    except OSError as error:
        code = _say(str(error), 127)
    reporter.end(code, None, b"")
    return code


def _schedule(options: argparse.Namespace) -> dict[str, Any] | None:
    """The declared schedule, or None."""
    kinds = {"cron": options.cron, "on_calendar": options.on_calendar, "period": options.period}
    kind, value = next(((kind, value) for kind, value in kinds.items() if value), ("none", None))
    if kind == "none" and options.max_duration is None:
        return None
    expression = {} if kind in ("none", "period") else {"expression": value}
    period = {"period": value} if kind == "period" else {}
    limits = {"grace": options.grace, "max_duration": options.max_duration}
    zone = options.time_zone or local_zone()
    return {"kind": kind, "time_zone": zone, **expression, **period, **{k: v for k, v in limits.items() if v}}


def local_zone() -> str:
    """This machine's time zone by name, by TZ or /etc/localtime; UTC if neither tells."""
    named = os.environ.get("TZ", "").lstrip(":")
    if "/" in named or named == "UTC":
        return named.rpartition(ZONES)[2] if ZONES in named else named
    target = os.path.realpath("/etc/localtime")
    if ZONES in target:
        return target.rpartition(ZONES)[2]
    try:
        return Path("/etc/timezone").read_text().strip() or "UTC"
    except OSError:
        return "UTC"


def _say(text: str, status: int) -> int:
    print(f"clevagent: {text}", file=sys.stderr)
    return status
