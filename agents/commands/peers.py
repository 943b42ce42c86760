"""Agents of one project or host, as `silent_groups.py` compares them to tell a silent agent from a silent host."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from django.db.models import QuerySet

from agents.domain import clocks
from agents.domain.silent_groups import Peer
from agents.models import Agent, AgentState


def expected(states: QuerySet[AgentState]) -> QuerySet[AgentState]:
    """Those that should report now: not paused, crashed or shut down, no jobs, and seen at least once."""
    running = states.filter(agent__paused_at__isnull=True, last_beat_at__isnull=False, crashed=False)
    running = running.exclude(agent__kind=Agent.Kind.JOB).exclude(reported="shutdown")
    return running.select_related("agent__project")


def silent(states: Iterable[AgentState], outages: Sequence[clocks.Span], now: datetime) -> list[Peer]:
    """Peers whose `due_at` is set once their deadline has passed."""
    return [peer for state in states if (peer := _peer(state, state.agent, outages, now, late=False))]


def late(states: Iterable[AgentState], outages: Sequence[clocks.Span], now: datetime) -> list[Peer]:
    """Peers whose `due_at` is set as soon as they are late, within their grace period."""
    return [peer for state in states if (peer := late_peer(state, state.agent, outages, now))]


def late_peer(state: AgentState, agent: Agent, outages: Sequence[clocks.Span], now: datetime) -> Peer | None:
    """The same for one agent; None when it has never reported."""
    return _peer(state, agent, outages, now, late=True)


def _peer(state: AgentState, agent: Agent, outages: Sequence[clocks.Span], now: datetime, *, late: bool) -> Peer | None:
    given = agent.clock_settings
    clock = clocks.alive(given, state, outages)
    if clock is None or state.last_beat_at is None:
        return None
    limit = clock.due_at if late else clock.deadline
    due_at = clock.due_at if now >= limit else None
    return Peer(state.agent_id, state.source, state.last_beat_at, clocks.interval(given, state), due_at)
