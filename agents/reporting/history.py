"""Reads what happened to an agent, for its page: roll-ups, and of the last day's heartbeats only so many.

The number of queries is always the same, and so is the most that they read.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from agents.domain.clocks import Span
from agents.models import Agent, Command, Heartbeat, Outage, Rollup, Signal
from agents.reporting.recent import ReportedBeat
from agents.reporting.series import SUMS, Row, Series, Zoom, summed
from agents.reporting.timeline import COMMANDS, DEPLOYS, INCIDENTS, OUTAGES, RUNS, WAITS, Entry
from agents.rules.observers import history, version
from agents.storage import outage_log
from agents.storage.decoding import sent_by_runner

# Of the last day, with what they say.
MAX_WARNED: Final = 400
TOLD_FROM: Final = timedelta(days=1)
MAX_ENTRIES: Final = 100
_TONES: Final = {Command.State.FAILED: "critical", Command.State.REJECTED: "warning", Command.State.EXPIRED: "warning"}


def series(agent_id: int, zoom: Zoom, now: datetime) -> Series:
    """One query."""
    since = now - zoom.length - timedelta(seconds=zoom.step)
    rollups = Rollup.objects.filter(agent_id=agent_id, span=zoom.rollup, start__gte=since, start__lte=now)
    return summed(zoom, now, map(_row, rollups.values_list("start", *SUMS, "memory_mb", "gap", "tools")))


def _row(found: Sequence[Any]) -> Row:
    start, *sums, memory_mb, gap, tools = found
    return Row(start, sums, memory_mb, gap, tools)


def told(agent_id: int, now: datetime, most: int = MAX_WARNED) -> list[ReportedBeat]:
    """What the agent itself said within a day, newest first."""
    since = now - TOLD_FROM
    beats = Heartbeat.objects.filter(agent_id=agent_id, day__gte=since.date(), received_at__gte=since)
    found = beats.order_by("-id").values_list("received_at", "status", "progress", "content")[:most]
    rows = (ReportedBeat(at, status, progress, content or {}) for at, status, progress, content in found)
    return [row for row in rows if not sent_by_runner(row.content, row.status)]


def entries(agent_id: int, known_since: datetime, since: datetime, now: datetime) -> list[Entry]:
    """Signals, commands and our own outages; three queries."""
    return [*_signals(agent_id, since), *_commands(agent_id, since), *_outages(max(since, known_since), now)]


def remembered(agent: Agent, now: datetime) -> list[Entry]:
    """Deploys, starts and waits, as far as the rules' memory of them goes; no query."""
    memory, state = agent.memory.rules, agent.state
    own = memory.get(history.KIND, {})
    return [
        *map(_deploy, version.deploys(memory.get(version.KIND, {}))),
        *map(_start, history.starts(own, state.run_at)),
        *map(_wait, history.waits(own, state.waiting_until, now)),
    ]


def _deploy(one: version.Version) -> Entry:
    return Entry(DEPLOYS, "deploy", f"Version {one.name} after {one.before}.", one.since, one.since)


def _start(at: datetime) -> Entry:
    return Entry(RUNS, "calm", "The agent was started.", at, at)


def _wait(one: history.Wait) -> Entry:
    return Entry(
        WAITS, "waits", f"Waited for {one.what}." if one.ended else f"Waits for {one.what}.", one.began, one.ended
    )


def _signals(agent_id: int, since: datetime) -> list[Entry]:
    signals = Signal.objects.filter(agent_id=agent_id).exclude(cleared_at__lt=since).order_by("-id")[:MAX_ENTRIES]
    return [
        Entry(
            INCIDENTS,
            one.severity,
            f"{one.get_kind_display().capitalize()}: {one.reason}",
            one.started_at,
            one.cleared_at,
            one.incident_id,
        )
        for one in signals
    ]


def _commands(agent_id: int, since: datetime) -> list[Entry]:
    found = Command.objects.filter(agent_id=agent_id, created_at__gte=since).order_by("-id")[:MAX_ENTRIES]
    return [_command(one) for one in found]


def _command(one: Command) -> Entry:
    text = f"{one.get_action_display().capitalize()} asked for by {one.requested_by}: {one.get_state_display()}"
    text += f" ({one.result})." if one.result else "."
    tone = _TONES.get(Command.State(one.state), "calm")
    return Entry(COMMANDS, tone, text, one.created_at, one.finished_at or one.created_at, one.incident_id)


def _outages(since: datetime, now: datetime) -> list[Entry]:
    found: Any = Outage.objects.filter(ended_at__gte=since, ended_at__lte=now + outage_log.MAX_AHEAD)
    spans = [Span(start, end) for start, end in found.values_list("started_at", "ended_at")[:MAX_ENTRIES]]
    text = "The watchdog itself did not watch; no agent is blamed for that time."
    return [Entry(OUTAGES, "away", text, span.start, span.end) for span in outage_log.merged(spans)]
