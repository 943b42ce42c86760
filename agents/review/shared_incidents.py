"""Opens incidents that many agents share: a host, a runner or a network fell silent, or a project's monthly budget is
exceeded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from agents.commands import peers
from agents.domain import budgets, clocks, restart_policy, signal_kinds, silent_groups
from agents.domain.money import dollars
from agents.incidents import shared
from agents.incidents.shared import Member
from agents.models import Agent, AgentState
from agents.review.case import Case
from agents.rules import cost
from agents.rules.facts import CRITICAL, Finding
from teams.models import Project

MAX_NAMES: Final = 10


def open_for_silence(cases: Sequence[Case], outages: Sequence[clocks.Span], now: datetime) -> None:
    """Open one incident for the agents of a host, a runner or a network that fell silent at once."""
    newly_silent = [case for case in cases if _is_newly_silent(case)]
    for project_id, silent in _by_project(newly_silent):
        cases_by_agent = {case.agent.pk: case for case in silent}
        for group in _silent_groups(project_id, outages, now):
            members = [cases_by_agent[agent_id] for agent_id in group.agent_ids if agent_id in cases_by_agent]
            if members:
                _open_for_group(group, members, now)


def open_for_months(cases: Sequence[Case], now: datetime) -> None:
    """Open one incident for all agents of a project that its monthly budget puts on hold from now on."""
    newly_held = [case for case in cases if _is_newly_held_by_month(case)]
    for project_id, held in _by_project(newly_held):
        title = next(_month_title(case.month) for case in held if case.month)
        members = [Member(case.agent, case.state, case.findings[0]) for case in held]
        signals = shared.open_for_month(members=members, project_id=project_id, title=title, now=now)
        for case, signal in zip(held, signals, strict=True):
            case.signals = [signal]


def _by_project(cases: Sequence[Case]) -> Iterator[tuple[int, list[Case]]]:
    """The cases by project, each project with its row locked.

    Another worker may review the rest of a group: the second one then joins the incident of the first.
    """
    by_project: dict[int, list[Case]] = defaultdict(list)
    for case in cases:
        by_project[case.agent.project_id].append(case)
    for project_id, members in sorted(by_project.items()):
        Project.objects.select_for_update(no_key=True).get(pk=project_id)
        yield project_id, members


def _silent_groups(project_id: int, outages: Sequence[clocks.Span], now: datetime) -> list[silent_groups.Group]:
    states = peers.expected(AgentState.objects.filter(agent__project_id=project_id))
    return silent_groups.groups(peers.silent(states, outages, now))


def _is_newly_silent(case: Case) -> bool:
    kinds = [finding.kind for finding in case.findings if finding.kind != restart_policy.FAILED]
    return not case.signals and kinds == [signal_kinds.MISSED_HEARTBEAT]


def _is_newly_held_by_month(case: Case) -> bool:
    if case.signals or case.set_aside:
        return False
    return [_exceeded_budget(finding) for finding in case.findings] == [budgets.MONTH]


def _exceeded_budget(finding: Finding) -> str:
    """The budget that a finding reports as exceeded; empty for any other finding."""
    is_exceeded = finding.kind == cost.KIND and finding.severity == CRITICAL
    return str(finding.evidence.get("budget", "")) if is_exceeded else ""


def _month_title(month: budgets.Month) -> str:
    spent, limit = dollars(month.cost), dollars(month.limit)
    return f"All agents are on hold: the project has spent {spent} of its {limit} monthly budget"


def _open_for_group(group: silent_groups.Group, cases: Sequence[Case], now: datetime) -> None:
    members = [Member(case.agent, case.state, case.findings[0]) for case in cases]
    signals = shared.open_for_silence(members=members, agent_ids=group.agent_ids, title=_silence_title(group), now=now)
    for case, signal in zip(cases, signals, strict=True):
        case.signals = [signal]


def _silence_title(group: silent_groups.Group) -> str:
    of_group = Agent.objects.filter(pk__in=group.agent_ids).order_by("name").values_list("name", flat=True)
    where = f"on {group.source.partition('/')[2] or group.source}" if group.source else "in this project"
    return f"{len(group.agent_ids)} agents {where} fell silent together: {', '.join(of_group[:MAX_NAMES])}"
