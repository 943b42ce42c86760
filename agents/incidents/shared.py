"""One incident for many agents: a host or a network that fell silent, or a project over its monthly budget."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from django.db.models import Exists, OuterRef

from agents.domain import budgets, signal_kinds
from agents.incidents.events import MAX_TEXT
from agents.incidents.ledger import Ledger
from agents.incidents.lifecycle import add_signal, opened
from agents.models import Agent, AgentState, Incident, IncidentEvent, Signal
from agents.rules import cost
from agents.rules.facts import Finding


class Member(NamedTuple):
    """An agent that joins a shared incident with a finding."""

    agent: Agent
    state: AgentState
    finding: Finding


class Silence(NamedTuple):
    """A group of agents that fell silent together. `members` are those found silent just now, `agent_ids` all of it."""

    title: str
    agent_ids: frozenset[int]
    members: Sequence[Member]


def open_for_silence(ledger: Ledger, silences: Sequence[Silence]) -> dict[int, Signal]:
    """Open an incident for each group, or join one. Returns the members' signals, by agent.

    Members join the open incident of another agent of their group; without any, one of them lends its name to a new
    one. Call it as the only judge of the groups' projects, so that two reviews do not open two.
    """
    open_now = _open_silences({silence.members[0].agent.project_id for silence in silences})
    pks = [min((open_now[pk] for pk in silence.agent_ids & open_now.keys()), default=0) for silence in silences]
    locked, known = ledger.lock(set(pks) - {0}), _told(set(pks) - {0})
    signals: dict[int, Signal] = {}
    for pk, silence in zip(pks, silences, strict=True):
        if pk and pk not in locked:
            ledger.busy |= {member.agent.pk for member in silence.members}
        else:
            signals |= _silenced(ledger, locked.get(pk), silence, known)
    return signals


def _open_silences(project_ids: Iterable[int]) -> dict[int, int]:
    """The open incidents of these projects about silent agents, by the agent whose name they bear."""
    of_projects = Incident.objects.open().filter(project__in=list(project_ids), kind=signal_kinds.MISSED_HEARTBEAT)
    return dict(of_projects.order_by().values_list("agent", "pk"))


def _told(pks: Collection[int]) -> set[tuple[int, str]]:
    """What the timelines of these incidents say already: ids and texts."""
    if not pks:
        return set()
    joins = (IncidentEvent.Kind.OPENED, IncidentEvent.Kind.UPDATED, IncidentEvent.Kind.NOTE)
    return set(IncidentEvent.objects.filter(incident__in=pks, kind__in=joins).values_list("incident", "text"))


def _silenced(
    ledger: Ledger, incident: Incident | None, silence: Silence, known: Collection[tuple[int, str]]
) -> dict[int, Signal]:
    kind = _event_kind(incident)
    incident = incident or _opened(ledger, silence.members, silence.title)
    if incident is None:
        return {}
    # A group that is larger than a review joins piece by piece, which is no news.
    if kind != IncidentEvent.Kind.NOTE or (incident.pk, silence.title[:MAX_TEXT]) not in known:
        ledger.record(incident, kind, silence.title)
    return _joined(ledger, incident, silence.members)


def open_for_month(ledger: Ledger, *, members: Sequence[Member], project_id: int, title: str) -> dict[int, Signal]:
    """Open an incident for all agents of a project over its monthly budget, or join it. Returns their signals.

    Call it as the only judge of the project, so that two reviews do not open two.
    """
    over_month = Signal.objects.filter(
        incident=OuterRef("pk"), kind=cost.KIND, evidence__budget=budgets.MONTH, cleared_at__isnull=True
    )
    of_project = Incident.objects.open().filter(Exists(over_month), project=project_id, kind=cost.KIND)
    pk = of_project.order_by("pk").values_list("pk", flat=True).first()
    incident = ledger.lock([pk]).get(pk) if pk else _opened(ledger, members, title)
    if incident is None:
        # It is locked, or all members bear the names of other incidents.
        ledger.busy |= {member.agent.pk for member in members} if pk else set()
        return {}
    if not pk:
        ledger.record(incident, IncidentEvent.Kind.OPENED, title)
    return _joined(ledger, incident, members)


def _event_kind(incident: Incident | None) -> str:
    """That one agent's silence turns out to be a whole host's notifies; further agents that join it do not."""
    if incident is None:
        return IncidentEvent.Kind.OPENED
    return IncidentEvent.Kind.NOTE if incident.together else IncidentEvent.Kind.UPDATED


def _opened(ledger: Ledger, members: Sequence[Member], title: str) -> Incident | None:
    """A new incident that bears the name of the first member whose name no other open incident bears."""
    first = next((member for member in members if ledger.named_after(member.agent.pk) is None), None)
    if first is None:
        return None
    started_at = min(member.finding.started_at for member in members)
    finding = replace(first.finding, reason=title, started_at=started_at, evidence={})
    return opened(ledger, first.agent, finding, first.state)


def _joined(ledger: Ledger, incident: Incident, members: Sequence[Member]) -> dict[int, Signal]:
    incident.together = True
    ledger.change(incident)
    return {member.agent.pk: add_signal(ledger, incident, member.agent, member.finding) for member in members}
