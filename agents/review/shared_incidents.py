"""Opens incidents that many agents share: a host, a runner or a network fell silent, or a project's monthly budget is
exceeded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

from agents.commands import peers
from agents.domain import budgets, clocks, restart_policy, signal_kinds, silent_groups
from agents.domain.money import dollars
from agents.domain.silent_groups import Group, Peer
from agents.incidents import shared
from agents.incidents.ledger import Ledger
from agents.incidents.shared import Member, Silence
from agents.review.case import Case
from agents.rules import cost
from agents.rules.facts import CRITICAL, Finding
from teams.models import Project

MAX_NAMES: Final = 10


class Judge:
    """Finds the groups that fell silent by `now`, once per project and sweep; every agent of a sweep sees the same."""

    def __init__(self, outages: Sequence[clocks.Span], now: datetime) -> None:
        self._outages, self._now = outages, now
        self._silent: dict[int, list[Peer]] = {}
        self._groups: dict[int, list[Group]] = {}

    def silences(self, project_ids: Iterable[int]) -> Iterator[tuple[str, Group]]:
        """The groups of these projects, with their titles."""
        wanted = set(project_ids)
        self._look_at(wanted - self._groups.keys())
        for project_id in sorted(wanted):
            for group in self._groups[project_id]:
                yield _silence_title(group, self._silent[project_id]), group

    def _look_at(self, project_ids: set[int]) -> None:
        if not project_ids:
            return
        found = peers.silent(project_ids, self._outages, self._now)
        suspected = {source for silent in found.values() for source in silent_groups.suspected_sources(silent)}
        newest = peers.newest(found, suspected) if suspected else {}
        for project_id in project_ids:
            silent = self._silent[project_id] = found.get(project_id, [])
            by_source = {source: at for (of_project, source), at in newest.items() if of_project == project_id}
            self._groups[project_id] = silent_groups.groups(
                silent, newest=by_source, expected=_expected(project_id, silent)
            )


def _expected(project_id: int, silent: Sequence[Peer]) -> int:
    at_most = 2 * len(silent)
    return peers.count_expected(project_id, at_most) if silent_groups.is_project_suspected(silent) else at_most


def leave_to_others(cases: Sequence[Case]) -> set[int]:
    """The agents of projects which another review is judging right now, as far as it might share their incidents.

    Locks the other projects: whoever judges a project sees what the judge before has committed. No review waits for
    another, because heartbeats would wait for the hot rows that it holds.
    """
    shared = [case for case in cases if _is_newly_silent(case) or _is_newly_held_by_month(case)]
    wanted = {case.agent.project_id for case in shared}
    if not wanted:
        return set()
    rows = Project.objects.filter(pk__in=wanted).order_by("pk").select_for_update(no_key=True, skip_locked=True)
    mine = set(rows.values_list("pk", flat=True))
    return {case.agent.pk for case in shared if case.agent.project_id not in mine}


def open_for_silence(ledger: Ledger, cases: Sequence[Case], judge: Judge) -> None:
    """Open one incident for the agents of a host, a runner or a network that fell silent at once."""
    by_agent = {case.agent.pk: case for case in cases if _is_newly_silent(case)}
    silences = []
    for title, group in judge.silences({case.agent.project_id for case in by_agent.values()}):
        members = [_member(by_agent[pk]) for pk in group.agent_ids if pk in by_agent]
        if members:
            silences.append(Silence(title, frozenset(group.agent_ids), members))
    if silences:
        for pk, signal in shared.open_for_silence(ledger, silences).items():
            by_agent[pk].signals = [signal]


def open_for_months(ledger: Ledger, cases: Sequence[Case]) -> None:
    """Open one incident for all agents of a project that its monthly budget puts on hold from now on."""
    by_project: dict[int, list[Case]] = defaultdict(list)
    for case in cases:
        if _is_newly_held_by_month(case):
            by_project[case.agent.project_id].append(case)
    for project_id, held in sorted(by_project.items()):
        title = next(_month_title(case.month) for case in held if case.month)
        members = [_member(case) for case in held]
        signals = shared.open_for_month(ledger, members=members, project_id=project_id, title=title)
        for case in held:
            case.signals = [signals[case.agent.pk]] if case.agent.pk in signals else []


def _member(case: Case) -> Member:
    return Member(case.agent, case.state, case.findings[0])


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


def _silence_title(group: Group, silent: Sequence[Peer]) -> str:
    ids = set(group.agent_ids)
    names = sorted(peer.name for peer in silent if peer.agent_id in ids)
    where = f"on {group.source.partition('/')[2] or group.source}" if group.source else "in this project"
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return f"{len(names)} agents {where} fell silent together: {', '.join(names[:MAX_NAMES])}{more}"
