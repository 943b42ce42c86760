"""Loads what `restart_policy.py` needs to decide about an agent's restart, and tells whether a restart worked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db.models import Q

from agents.commands import peers
from agents.domain import clocks, restart_policy, signal_kinds, silent_groups
from agents.domain.signal_kinds import MISSED_HEARTBEAT, STALLED
from agents.models import Agent, AgentState, Command, Heartbeat, Incident, Severity, Signal
from agents.rules.facts import Finding
from agents.storage import json_rows, outage_log

# After a watchdog outage nothing is restarted until agents have had time to report.
SETTLE_TIME: Final = timedelta(seconds=clocks.MAX_SETTLE + clocks.SETTLE_EXTRA)


def recent_restarts(agent_ids: Collection[int], now: datetime) -> dict[int, list[datetime]]:
    """When restarts were sent to a runner in the last day, by agent, whatever their result."""
    since = now - restart_policy.REMEMBERED
    by_agent: dict[int, list[datetime]] = defaultdict(list)
    commanded = json_rows.having("agents_command", agent_ids, "leased_at > %s", since)
    if not commanded:
        return by_agent
    sent = Command.objects.filter(agent_id__in=commanded, action=Command.Action.RESTART, leased_at__gt=since)
    for agent_id, at in sent.order_by("leased_at").values_list("agent_id", "leased_at"):
        if at is not None:
            by_agent[agent_id].append(at)
    return by_agent


def is_being_restarted(agent_id: int, signals: Sequence[Signal], since: datetime) -> bool:
    """Whether an agent's last goodbye came while its runner restarted it, so that the next process is on its way.

    Once that was an incident and a person resolved it, the agent has ended. `since` bounds how far back heartbeats are
    read.
    """
    goodbyes = Heartbeat.objects.filter(agent=agent_id, status="shutdown", day__gte=since.date())
    said_at = goodbyes.order_by("-id").values_list("received_at", flat=True).first()
    if said_at is None:
        return False
    if not signals and Signal.objects.filter(agent=agent_id, cleared_at__gte=said_at).exists():
        return False
    in_progress = Q(finished_at=None) | Q(finished_at__gte=said_at)
    restarts = Command.objects.filter(agent=agent_id, action=Command.Action.RESTART)
    return restarts.filter(in_progress, leased_at__lte=said_at).exists()


def open_kinds(agent: Agent) -> set[str]:
    """What is wrong with the agent now. A budget that is not exceeded yet does not count."""
    return kinds_of(Signal.objects.filter(agent=agent, cleared_at__isnull=True))


def kinds_of(signals: Iterable[Signal]) -> set[str]:
    """The kinds of open signals that bear on a restart. A budget that is not exceeded yet does not."""
    return {
        signal.kind
        for signal in signals
        if signal.severity == Severity.CRITICAL or not signal_kinds.traits(signal.kind).is_budget
    }


def load(
    agent: Agent, state: AgentState, origin: str, now: datetime, *, incident: Incident | None, kinds: Iterable[str]
) -> restart_policy.RestartContext:
    """Everything that bears on a restart of this agent at this moment."""
    by_watchdog = origin == restart_policy.WATCHDOG
    return restart_policy.RestartContext(
        policy=agent.restart_policy,
        origin=origin,
        now=now,
        attempts=recent_restarts([agent.pk], now)[agent.pk],
        kinds=frozenset(kinds),
        paused=agent.paused_at is not None,
        unsafe=agent.unsafe_to_repeat,
        held=state.held,
        together=incident is not None and incident.together,
        source_quiet=by_watchdog and _is_source_quiet(agent, state, kinds, now),
        waiting_until=state.waiting_until,
        blind_until=None if origin == restart_policy.PERSON else _blind_until(now),
        patience=patience(agent, state, kinds) if by_watchdog else 0.0,
    )


def _is_source_quiet(agent: Agent, state: AgentState, kinds: Iterable[str], now: datetime) -> bool:
    """Whether a silent agent's host may be the problem, because other agents there are late too.

    Not asked when a runner confirms that the target is down.
    """
    if MISSED_HEARTBEAT not in kinds or state.runner_down or not state.source:
        return False
    outages = outage_log.outages(now)
    itself = peers.late_peer(state, agent, outages, now)
    here = AgentState.objects.filter(agent__project=agent.project_id, source=state.source).exclude(agent=agent)
    others = peers.late(peers.expected(here), outages, now)
    return itself is not None and bool(others) and silent_groups.is_source_quiet(itself, others)


def patience(agent: Agent, state: AgentState, kinds: Iterable[str]) -> float:
    """Seconds that a new process gets to show progress if it was stalled, else to send a heartbeat."""
    given = agent.clock_settings
    if STALLED in kinds:
        return clocks.progress_timeout(given, state)
    interval = clocks.interval(given, state)
    return interval + clocks.grace(given, interval)


def has_recovered(state: AgentState, since: datetime, kinds: Iterable[str]) -> bool:
    """Whether the agent has shown since then that it needs no restart: by progress or, unless stalled, a heartbeat."""
    if state.last_progress_at is not None and state.last_progress_at > since:
        return True
    reported = state.last_beat_at is not None and state.last_beat_at > since
    return reported and STALLED not in kinds and state.reported == "ok" and not state.runner_down


def unproven_findings(signals: Iterable[Signal], found: Collection[str], state: AgentState) -> list[Finding]:
    """The findings that stay open after a restart until there is progress: a running process proves nothing.

    `signals` are the open ones, `found` the kinds that are still found anyway.
    """
    return [
        as_finding(signal)
        for signal in signals
        if signal.kind not in found and _is_cured_by_restart(signal) and is_unproven(signal.incident, state)
    ]


def as_finding(signal: Signal) -> Finding:
    """An open signal as if it were found again, unchanged."""
    return Finding(
        kind=signal.kind,
        severity=signal.severity,
        reason=signal.reason,
        started_at=signal.started_at,
        evidence=signal.evidence,
    )


def _is_cured_by_restart(signal: Signal) -> bool:
    down = bool(signal.evidence.get("by_runner"))
    return signal.kind == restart_policy.FAILED or bool(restart_policy.cures([signal.kind], runner_down=down))


def is_unproven(incident: Incident, state: AgentState) -> bool:
    """Whether the agent, which reports progress, has shown none since its restart."""
    at = incident.restarted_at
    if at is None or incident.together or state.last_progress_at is None:
        return False
    return state.last_progress_at <= at


def next_restart(incident: Incident, kinds: Collection[str], now: datetime) -> restart_policy.Decision | None:
    """Whether the watchdog will restart the agent next and, if not, why and until when.

    None when the incident is over, or when a restart makes no difference to it.
    """
    agent, state = incident.agent, incident.agent.state
    curable = restart_policy.cures(kinds, runner_down=state.runner_down)
    if incident.resolved_at or not (curable or set(kinds) & restart_policy.SURVIVES_RESTART):
        return None
    context = load(agent, state, restart_policy.WATCHDOG, now, incident=incident, kinds=kinds)
    return restart_policy.may_restart(context, delays())


def delays() -> Sequence[float]:
    """Seconds between restarts: `RESTART_DELAYS`."""
    return tuple(settings.RESTART_DELAYS)


def _blind_until(now: datetime) -> datetime | None:
    outages = outage_log.outages(now)
    return outages[-1].end + SETTLE_TIME if outages else None
