"""Incidents that many agents share: a host, a runner or a network fell silent, or a project's budget holds them all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from agents.domain import budgets, clocks, restart_policy, silent_groups
from agents.domain.money import dollars
from agents.incidents import lifecycle
from agents.models import Agent, AgentState
from agents.review.case import Case, case_of
from agents.rules import cost
from agents.rules.facts import CRITICAL, Finding
from teams.models import Project


def conclude_silence(cases: Sequence[Case], outages: Sequence[clocks.Span], now: datetime) -> None:
    """One incident for agents of a host, a runner or a network that fell silent at once."""
    fresh: dict[int, dict[int, Case]] = defaultdict(dict)
    for case in cases:
        if _newly_silent(case):
            fresh[case.agent.project_id][case.agent.pk] = case
    for project_id, silent in sorted(fresh.items()):
        # Another worker may hold the rest of the same group: whoever comes second joins the first one's incident.
        Project.objects.select_for_update(no_key=True).get(pk=project_id)
        for group in silent_groups.groups(_peers(project_id, outages, now)):
            members = [silent[agent_id] for agent_id in group.agent_ids if agent_id in silent]
            if members:
                _open_group(group, members, now)


def conclude_months(cases: Sequence[Case], now: datetime) -> None:
    """One incident for all agents that a project's monthly budget holds from now on."""
    fresh: dict[int, list[Case]] = defaultdict(list)
    for case in cases:
        new = not (case.standing or case.set_aside)
        if new and [_held_by(finding) for finding in case.findings] == [budgets.MONTH]:
            fresh[case.agent.project_id].append(case)
    for project_id, held in sorted(fresh.items()):
        Project.objects.select_for_update(no_key=True).get(pk=project_id)
        parts = [(case.agent, case.state, case.findings[0]) for case in held]
        month = held[0].month
        assert month is not None  # noqa: S101 - it was found
        spent = f"{dollars(month.cost)} of {dollars(month.limit)}"
        title = f"All agents are on hold: the project has spent {spent} this month"
        signals = lifecycle.open_for_project(members=parts, project_id=project_id, title=title, now=now)
        for case, signal in zip(held, signals, strict=True):
            case.standing = [signal]


def _held_by(finding: Finding) -> str:
    """The budget that it says is exceeded; empty for all else."""
    held = finding.kind == cost.KIND and finding.severity == CRITICAL
    return str(finding.evidence.get("budget", "")) if held else ""


def _newly_silent(case: Case) -> bool:
    found = [finding.kind for finding in case.findings if finding.kind != restart_policy.FAILED]
    return not case.standing and found == ["missed_heartbeat"]


def _peers(project_id: int, outages: Sequence[clocks.Span], now: datetime) -> list[silent_groups.Peer]:
    states = AgentState.objects.filter(agent__project_id=project_id, agent__paused_at__isnull=True, crashed=False)
    states = states.exclude(agent__kind=Agent.Kind.JOB).exclude(reported="shutdown")
    expected = states.filter(last_beat_at__isnull=False)
    cases = [case_of(state, outages) for state in expected.select_related("agent__project", "agent__memory")]
    return [_peer(case, now) for case in cases]


def _peer(case: Case, now: datetime) -> silent_groups.Peer:
    state, alive = case.state, case.alive
    assert state.last_beat_at is not None  # noqa: S101 - filtered for
    assert alive is not None  # noqa: S101 - follows from it
    every = clocks.interval(case.settings, state)
    due = alive.due_at if now >= alive.deadline else None
    return silent_groups.Peer(state.agent_id, state.source, state.last_beat_at, every, due)


def _open_group(group: silent_groups.Group, members: Sequence[Case], now: datetime) -> None:
    names = ", ".join(Agent.objects.filter(pk__in=group.agent_ids).order_by("name").values_list("name", flat=True)[:10])
    where = f"on {group.source.partition('/')[2] or group.source}" if group.source else "in this project"
    title = f"{len(group.agent_ids)} agents {where} fell silent together: {names}"
    parts = [(case.agent, case.state, case.findings[0]) for case in members]
    signals = lifecycle.open_together(members=parts, agent_ids=group.agent_ids, title=title, now=now)
    for case, signal in zip(members, signals, strict=True):
        case.standing = [signal]
