"""What bears on an agent's restart, read from rows for `restart_policy.py` to judge."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings

from agents.domain import clocks, restart_policy, silent_groups
from agents.models import Agent, AgentState, Command, Incident, Signal
from agents.rules.facts import Finding
from agents.storage import outage_log

# After an outage of ours nothing is restarted before agents had their time to report.
SETTLE: Final = timedelta(seconds=clocks.MAX_SETTLE + clocks.SETTLE_EXTRA)


def handed_out(agent_ids: Iterable[int], now: datetime) -> dict[int, list[datetime]]:
    """When restarts were handed to a runner in the last day, by agent; whatever became of them."""
    since = now - restart_policy.REMEMBERED
    made = Command.objects.filter(agent_id__in=agent_ids, action=Command.Action.RESTART, leased_at__gt=since)
    found: dict[int, list[datetime]] = defaultdict(list)
    for agent_id, at in made.order_by("leased_at").values_list("agent_id", "leased_at"):
        assert at is not None  # noqa: S101 - filtered for
        found[agent_id].append(at)
    return found


def standing_kinds(agent: Agent) -> set[str]:
    """What is wrong with it now. A budget that is near, and not exceeded, is nothing to hold it for."""
    standing = Signal.objects.filter(agent=agent, cleared_at__isnull=True).values_list("kind", "severity")
    return {kind for kind, severity in standing if kind != "cost" or severity == "critical"}


def case(
    agent: Agent, state: AgentState, origin: str, now: datetime, *, incident: Incident | None, kinds: Iterable[str]
) -> restart_policy.RestartContext:
    """All that bears on a restart of this agent at this moment."""
    automatic = origin != restart_policy.PERSON
    return restart_policy.RestartContext(
        policy=agent.restart_policy,
        origin=origin,
        now=now,
        attempts=handed_out([agent.pk], now)[agent.pk],
        kinds=frozenset(kinds),
        paused=agent.paused_at is not None,
        unsafe=agent.unsafe_to_repeat,
        held=state.held,
        together=incident is not None and incident.together,
        source_quiet=origin == restart_policy.WATCHDOG and _is_source_quiet(agent, state, kinds, now),
        waiting_until=state.waiting_until,
        blind_until=_blind_until(now) if automatic else None,
        patience=patience(agent, state, kinds) if origin == restart_policy.WATCHDOG else 0.0,
    )


def _is_source_quiet(agent: Agent, state: AgentState, kinds: Iterable[str], now: datetime) -> bool:
    """Of one that is silent, and that no runner sees down: whether the others of its host are to be asked first."""
    if "missed_heartbeat" not in kinds or state.runner_down or not state.source:
        return False
    others = AgentState.objects.filter(agent__project=agent.project_id, source=state.source, crashed=False)
    others = others.exclude(agent=agent).exclude(agent__kind=Agent.Kind.JOB).exclude(reported="shutdown")
    expected = others.filter(agent__paused_at__isnull=True, last_beat_at__isnull=False)
    outages = outage_log.outages(now)
    rest = [_late(one, one.agent, outages, now) for one in expected.select_related("agent__project")]
    return bool(rest) and silent_groups.is_source_quiet(_late(state, agent, outages, now), rest)


def _late(state: AgentState, agent: Agent, outages: Sequence[clocks.Span], now: datetime) -> silent_groups.Peer:
    """It as a peer whose `due_at` is set when it is late, which is before it is silent."""
    given = agent.clock_settings
    clock = clocks.alive(given, state, outages)
    assert clock is not None  # noqa: S101 - it has reported
    assert state.last_beat_at is not None  # noqa: S101 - the same
    due = clock.due_at if now >= clock.due_at else None
    return silent_groups.Peer(state.agent_id, state.source, state.last_beat_at, clocks.interval(given, state), due)


def patience(agent: Agent, state: AgentState, kinds: Iterable[str]) -> float:
    """Seconds in which a process that was just started shows progress, or at least reports."""
    given = agent.clock_settings
    if "stalled" in kinds:
        return clocks.progress_timeout(given, state)
    every = clocks.interval(given, state)
    return every + clocks.grace(given, every)


def works_since(state: AgentState, at: datetime, kinds: Iterable[str]) -> bool:
    """Whether the agent showed since that it needs no restart: progress, or, if it was not stuck, a good beat."""
    if state.last_progress_at is not None and state.last_progress_at > at:
        return True
    speaks = state.last_beat_at is not None and state.last_beat_at > at
    return speaks and "stalled" not in kinds and state.reported == "ok" and not state.runner_down


def unproven(standing: Iterable[Signal], found: Collection[str], state: AgentState) -> list[Finding]:
    """A process that is up again proves nothing: what it was restarted for stands until there is progress.

    `standing` is what was wrong before, `found` the kinds that still are.
    """
    return [
        said_again(signal)
        for signal in standing
        if signal.kind not in found and _is_cured_by_restart(signal) and _is_unproven(signal.incident, state)
    ]


def said_again(signal: Signal) -> Finding:
    """What stands, found once more as it was."""
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


def _is_unproven(incident: Incident, state: AgentState) -> bool:
    """Whether it was restarted and has shown no progress since, though it is an agent that shows progress."""
    at = incident.restarted_at
    if at is None or incident.together or state.last_progress_at is None:
        return False
    return state.last_progress_at <= at


def outlook(incident: Incident, kinds: Collection[str], now: datetime) -> restart_policy.Decision | None:
    """Whether the watchdog restarts the agent next, for what is wrong now, and if not, why and until when.

    None where it is over, or is nothing that a restart could cure or would buy again.
    """
    agent, state = incident.agent, incident.agent.state
    told_of = restart_policy.cures(kinds, runner_down=state.runner_down) | (
        set(kinds) & restart_policy.SURVIVES_RESTART
    )
    if incident.resolved_at or not told_of:
        return None
    return restart_policy.may_restart(
        case(agent, state, restart_policy.WATCHDOG, now, incident=incident, kinds=kinds), delays()
    )


def delays() -> Sequence[float]:
    """Seconds between restarts: `RESTART_DELAYS`."""
    return tuple(settings.RESTART_DELAYS)


def _blind_until(now: datetime) -> datetime | None:
    outages = outage_log.outages(now)
    return outages[-1].end + SETTLE if outages else None
