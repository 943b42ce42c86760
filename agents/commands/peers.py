"""Agents of one project or host, as `silent_groups.py` compares them to tell a silent agent from a silent host."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Final

from django.db.models import Max, Q, QuerySet

from agents.domain import clocks
from agents.domain.signal_kinds import MISSED_HEARTBEAT
from agents.domain.silent_groups import Peer
from agents.models import Agent, AgentState, Unread


@dataclass(slots=True)
class _Reporter:
    """The hot-row columns that a peer is made of. No model: a review reads all silent agents of a project."""

    agent_id: int
    source: str
    beats: int
    last_beat_at: datetime | None
    usual_gap: float | None
    declared_interval: float | None


_REPORTER: Final = tuple(column.name for column in fields(_Reporter))
_SETTINGS: Final = ("agent__interval", "agent__grace", "agent__project__default_grace", "agent__resumed_at")


def expected(states: QuerySet[AgentState]) -> QuerySet[AgentState]:
    """Those that should report now: not paused, crashed or shut down, no jobs, and seen at least once."""
    running = states.filter(agent__paused_at__isnull=True, last_beat_at__isnull=False, crashed=False)
    running = running.exclude(agent__kind=Agent.Kind.JOB).exclude(reported="shutdown")
    return running.select_related("agent__project")


def silent(project_ids: Iterable[int], outages: Sequence[clocks.Span], now: datetime) -> dict[int, list[Peer]]:
    """The agents by project whose deadline has passed, `due_at` set.

    Found among those that are due for review, new ones and those known to be silent, so the cost depends on what is
    wrong, not on the size of the project.
    """
    of_projects = expected(AgentState.objects.filter(agent__project__in=list(project_ids)))
    rows = of_projects.values_list("agent__project_id", "agent__name", *_SETTINGS, *_REPORTER)
    known = Q(agent__signals__kind=MISSED_HEARTBEAT, agent__signals__cleared_at__isnull=True)
    by_project: dict[int, dict[int, Peer]] = defaultdict(dict)
    # Agents that no review has seen yet have no date for it.
    new = Q(check_at__isnull=True, agent_id__in=Unread.objects.values("agent_id"))
    # Three statements, because no index serves their disjunction.
    for row in (*rows.filter(check_at__lte=now), *rows.filter(new), *rows.filter(known)):
        project_id, name, interval, grace, default_grace, resumed_at, *of_reporter = row
        given = clocks.Settings(
            interval=interval, grace=default_grace if grace is None else grace, resumed_at=resumed_at
        )
        peer = _peer(_Reporter(*of_reporter), given, name, outages, now, late=False)
        if peer is not None and peer.due_at is not None:
            by_project[project_id][peer.agent_id] = peer
    return {project_id: sorted(peers.values(), key=_by_id) for project_id, peers in by_project.items()}


def _by_id(peer: Peer) -> int:
    return peer.agent_id


def newest(project_ids: Iterable[int], sources: Iterable[str]) -> dict[tuple[int, str], datetime]:
    """The last heartbeat of each source, by project and source, of the agents that should report."""
    there = expected(AgentState.objects.filter(agent__project__in=list(project_ids), source__in=list(sources)))
    by_source = there.order_by().values_list("agent__project", "source").annotate(Max("last_beat_at"))
    return {(project_id, source): at for project_id, source, at in by_source if at is not None}


def count_expected(project_id: int, at_most: int) -> int:
    """How many agents of a project should report; stops counting at `at_most`."""
    return expected(AgentState.objects.filter(agent__project=project_id)).order_by()[:at_most].count()


def late(states: Iterable[AgentState], outages: Sequence[clocks.Span], now: datetime) -> list[Peer]:
    """Peers whose `due_at` is set as soon as they are late, within their grace period."""
    return [peer for state in states if (peer := late_peer(state, state.agent, outages, now))]


def late_peer(state: AgentState, agent: Agent, outages: Sequence[clocks.Span], now: datetime) -> Peer | None:
    """The same for one agent; None when it has never reported."""
    return _peer(state, agent.clock_settings, agent.name, outages, now, late=True)


def _peer(
    state: AgentState | _Reporter,
    given: clocks.Settings,
    name: str,
    outages: Sequence[clocks.Span],
    now: datetime,
    *,
    late: bool,
) -> Peer | None:
    clock = clocks.alive(given, state, outages)
    if clock is None or state.last_beat_at is None:
        return None
    limit = clock.due_at if late else clock.deadline
    due_at = clock.due_at if now >= limit else None
    return Peer(state.agent_id, state.source, state.last_beat_at, clocks.interval(given, state), due_at, name)
