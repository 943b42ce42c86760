"""An agent's history for its page: roll-ups, and a limited number of the last day's heartbeats.

The number of queries and the number of rows they read are bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Q, QuerySet

from agents.domain.clocks import Span
from agents.models import Agent, AgentState, Command, Heartbeat, Outage, OutsideEvent, Rollup, Signal
from agents.reporting.recent import ReportedBeat
from agents.reporting.series import SUMS, Row, Series, Zoom, build
from agents.reporting.timeline import ALERTS, COMMANDS, DEPLOYS, INCIDENTS, OUTAGES, RUNS, WAITS, Entry
from agents.rules.observers import history, version
from agents.storage import outage_log
from agents.storage.decoding import sent_by_runner

# Heartbeats are read with their content, from one day, up to this many.
MAX_RECENT_BEATS: Final = 400
RECENT: Final = timedelta(days=1)
EVERY: Final = Q()
# Heartbeats that are more than a sign of life.
WORKING: Final = Q(progress=True) | Q(status="error")
MAX_ENTRIES: Final = 100
MAX_AROUND: Final = 6
OUTAGE_TEXT: Final = "Watchdog was offline; this time is not counted."
OVERLOAD_TEXT: Final = "Watchdog was slow: heartbeats or reviews waited; this time is not counted."
_TONES: Final = {Command.State.FAILED: "critical", Command.State.REJECTED: "warning", Command.State.EXPIRED: "warning"}


def series(agent_id: int, zoom: Zoom, now: datetime) -> Series:
    """One query."""
    since = now - zoom.length - timedelta(seconds=zoom.step)
    rollups = Rollup.objects.filter(agent_id=agent_id, span=zoom.rollup, start__gte=since, start__lte=now)
    return build(zoom, now, map(_row, rollups.values_list("start", *SUMS, "memory_mb", "gap", "tools")))


def _row(values: Sequence[Any]) -> Row:
    start, *sums, memory_mb, gap, tools = values
    return Row(start, sums, memory_mb, gap, tools)


def recent_beats(
    agent_id: int,
    now: datetime,
    limit: int = MAX_RECENT_BEATS,
    since: datetime | None = None,
    only: Q = EVERY,
) -> list[ReportedBeat]:
    """The agent's own heartbeats until `now`, newest first; the runner's are left out. By default of one day."""
    since = since or now - RECENT
    beats = Heartbeat.objects.filter(only, agent=agent_id, day__gte=since.date(), received_at__range=(since, now))
    values = beats.order_by("-id").values_list("received_at", "status", "progress", "content")[:limit]
    reported = (ReportedBeat(at, status, progress, content or {}) for at, status, progress, content in values)
    return [beat for beat in reported if not sent_by_runner(beat.content, beat.status)]


def telling_beats(state: AgentState, now: datetime, limit: int, since: datetime | None = None) -> list[ReportedBeat]:
    """The newest heartbeats and, where they lack words or calls, the last before them that showed work.

    A stalled agent sends hundreds that say nothing, and its runner even more. One query, or two.
    """
    progressed = state.last_progress_at
    since = since or min(progressed or now, now) - RECENT
    beats = recent_beats(state.agent_id, now, limit, since)
    said = {name for beat in beats for name in ("message", "calls") if beat.content.get(name)}
    if progressed is None or len(said) == 2:
        return beats
    oldest = beats[-1].at if beats else now
    working = recent_beats(state.agent_id, oldest, limit, since, WORKING)
    return [*beats, *(beat for beat in working if not beats or beat.at < oldest)]


def entries(agent: Agent, since: datetime, now: datetime) -> list[Entry]:
    """Signals, commands, watchdog outages, and what webhooks told; four queries."""
    outages = _outages(max(since, agent.created_at), now)
    told = _told_of(agent, since, now).order_by("-began_at", "-pk")[:MAX_ENTRIES]
    return [*_signals(agent.pk, since), *_commands(agent.pk, since), *outages, *map(_outside, told)]


def _told_of(agent: Agent, since: datetime, until: datetime) -> QuerySet[OutsideEvent]:
    """Deploys and other systems' alerts about the agent or all of its project, of what went on in this time."""
    about = Q(agent=agent.pk) | Q(agent=None)
    then = Q(ended_at__gte=since) | Q(ended_at=None)
    told = OutsideEvent.objects.filter(about, then, project=agent.project_id, began_at__lte=until)
    return told.select_related("webhook")


def around(agent: Agent, since: datetime, until: datetime) -> list[OutsideEvent]:
    """The first of them, in order."""
    return list(_told_of(agent, since, until).order_by("began_at", "pk")[:MAX_AROUND])


def _outside(event: OutsideEvent) -> Entry:
    lane = DEPLOYS if event.kind == OutsideEvent.Kind.DEPLOY else ALERTS
    return Entry(lane, event.tone, event.text, event.began_at, event.ended_at, url=event.url)


def remembered_entries(agent: Agent, now: datetime) -> list[Entry]:
    """Deploys, starts and waits that the rules' memory still holds; no query."""
    memory, state = agent.memory.rules, agent.state
    past = memory.get(history.KIND, {})
    return [
        *map(_deploy, version.deploys(memory.get(version.KIND, {}))),
        *map(_start, history.starts(past, state.run_at)),
        *map(_wait, history.waits(past, state.waiting_until, now)),
    ]


def _deploy(deploy: version.Version) -> Entry:
    text = f"Version {deploy.name} replaced {deploy.before}."
    return Entry(DEPLOYS, "deploy", text, deploy.since, deploy.since)


def _start(at: datetime) -> Entry:
    return Entry(RUNS, "calm", "Agent started.", at, at)


def _wait(wait: history.Wait) -> Entry:
    text = f"Waited for {wait.what}." if wait.ended else f"Waiting for {wait.what}."
    return Entry(WAITS, "waits", text, wait.began, wait.ended)


def _signals(agent_id: int, since: datetime) -> list[Entry]:
    signals = Signal.objects.filter(agent_id=agent_id).exclude(cleared_at__lt=since).order_by("-id")[:MAX_ENTRIES]
    return [_signal(signal) for signal in signals]


def _signal(signal: Signal) -> Entry:
    text = f"{signal.kind_label.capitalize()}: {signal.reason}"
    return Entry(INCIDENTS, signal.severity, text, signal.started_at, signal.cleared_at, signal.incident_id)


def _commands(agent_id: int, since: datetime) -> list[Entry]:
    commands = Command.objects.filter(agent_id=agent_id, created_at__gte=since).order_by("-id")[:MAX_ENTRIES]
    return [_command(command) for command in commands]


def _command(command: Command) -> Entry:
    action, state = command.get_action_display().capitalize(), command.get_state_display()
    result = f" ({command.result})" if command.result else ""
    text = f"{action} requested by {command.requested_by}: {state}{result}."
    tone = _TONES.get(Command.State(command.state), "calm")
    ended = command.finished_at or command.created_at
    return Entry(COMMANDS, tone, text, command.created_at, ended, command.incident_id)


def _outages(since: datetime, now: datetime) -> list[Entry]:
    outages = Outage.objects.filter(ended_at__gte=since, ended_at__lte=now + outage_log.MAX_AHEAD)
    spans: dict[str, list[Span]] = {OUTAGE_TEXT: [], OVERLOAD_TEXT: []}
    for part, start, end in outages.values_list("part", "started_at", "ended_at")[:MAX_ENTRIES]:
        spans[OVERLOAD_TEXT if part == outage_log.OVERLOAD else OUTAGE_TEXT].append(Span(start, end))
    return [
        Entry(OUTAGES, "away", text, span.start, span.end)
        for text, of_text in spans.items()
        for span in outage_log.merged(of_text)
    ]
