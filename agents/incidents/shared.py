"""One incident for many agents: a host or a network that fell silent, or a project over its monthly budget."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from django.db.models import Exists, OuterRef

from agents.domain import budgets
from agents.incidents.events import record
from agents.incidents.lifecycle import add_signal, locked_open, opened
from agents.models import Agent, AgentState, Incident, IncidentEvent, Signal
from agents.rules import cost
from agents.rules.facts import Finding


class Member(NamedTuple):
    """An agent that joins a shared incident with a finding."""

    agent: Agent
    state: AgentState
    finding: Finding


def open_for_silence(*, members: Sequence[Member], agent_ids: Iterable[int], title: str, now: datetime) -> list[Signal]:
    """Open an incident for agents that fell silent together, or join one. Returns the signals of `members`.

    `agent_ids` is the whole group, `members` are those found silent just now. They join the open incident of another
    agent of the group; without any, the first member lends its name to a new one.
    """
    of_group = locked_open().filter(agent__in=agent_ids, kind=members[0].finding.kind)
    incident = of_group.order_by("pk").first()
    event = _event_kind(incident)
    incident = incident or _opened(members, title, now)
    signals = _joined(incident, members, now)
    record(incident=incident, kind=event, text=title, now=now)
    return signals


def open_for_month(*, members: Sequence[Member], project_id: int, title: str, now: datetime) -> list[Signal]:
    """Open an incident for all agents of a project over its monthly budget, or join it. Returns their signals.

    Call it with the project's row locked, so that two reviews do not open two.
    """
    over_month = Signal.objects.filter(
        incident=OuterRef("pk"), kind=cost.KIND, evidence__budget=budgets.MONTH, cleared_at__isnull=True
    )
    of_project = locked_open().filter(Exists(over_month), project=project_id, kind=cost.KIND)
    incident = of_project.order_by("pk").first()
    if incident is None:
        incident = _opened(members, title, now)
        record(incident=incident, kind=IncidentEvent.Kind.OPENED, text=title, now=now)
    return _joined(incident, members, now)


def _event_kind(incident: Incident | None) -> str:
    """That one agent's silence turns out to be a whole host's notifies; further agents that join it do not."""
    if incident is None:
        return IncidentEvent.Kind.OPENED
    return IncidentEvent.Kind.NOTE if incident.together else IncidentEvent.Kind.UPDATED


def _opened(members: Sequence[Member], title: str, now: datetime) -> Incident:
    first = members[0]
    started_at = min(member.finding.started_at for member in members)
    finding = replace(first.finding, reason=title, started_at=started_at, evidence={})
    return opened(first.agent, finding, first.state, now)


def _joined(incident: Incident, members: Sequence[Member], now: datetime) -> list[Signal]:
    signals = [add_signal(incident, member.agent, member.finding, now) for member in members]
    incident.together = True
    incident.save(update_fields=["together"])
    return signals
