"""What people do with an incident: acknowledge, note, mute, resolve; and what is left of it when agents are deleted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from django.db import transaction
from django.db.models import Exists, Max, OuterRef, Q, QuerySet

from agents import rules
from agents.incidents.lifecycle import close, record
from agents.models import Agent, AgentState, Incident, IncidentEvent, Signal
from agents.rules import cost, loop
from agents.storage import monthly_spend
from teams.errors import ApiError
from teams.services import audit

# Kinds that nothing but a new heartbeat can end: resolved by hand, the agent counts as stopped until it reports again.
ENDED_BY_A_BEAT: Final = frozenset({"missed_heartbeat", "crash", "error"})


@transaction.atomic
def acknowledge(*, incident: Incident, actor: str, now: datetime) -> Incident:
    """Someone looks after it. Acknowledging twice, or after it was resolved, changes nothing."""
    incident = Incident.objects.select_for_update().get(pk=incident.pk)
    if incident.acknowledged_at or incident.resolved_at:
        return incident
    incident.acknowledged_at, incident.acknowledged_by = now, actor
    incident.save(update_fields=["acknowledged_at", "acknowledged_by"])
    record(
        incident=incident, kind=IncidentEvent.Kind.ACKNOWLEDGED, text=f"Acknowledged by {actor}", actor=actor, now=now
    )
    audit(team=incident.project.team, actor=actor, action="incident.acknowledge", target=str(incident), of=incident)
    return incident


@transaction.atomic
def note(*, incident: Incident, actor: str, text: str, now: datetime) -> None:
    """A person's line on the timeline, for the others and for the next time. Raises ApiError 422 when it is empty."""
    if not text:
        raise ApiError(422, "invalid", "Write something first.")
    record(incident=incident, kind=IncidentEvent.Kind.NOTE, text=text, actor=actor, now=now)
    audit(team=incident.project.team, actor=actor, action="incident.note", target=str(incident), of=incident)


@transaction.atomic
def mute(*, incident: Incident, actor: str, now: datetime) -> None:
    """Tell nobody anything more of it, not even its end. A second time, or after it is over, changes nothing."""
    if not Incident.objects.open().filter(pk=incident.pk, muted_at=None).update(muted_at=now):
        return
    record(incident=incident, kind=IncidentEvent.Kind.NOTE, text=f"Muted by {actor}", actor=actor, now=now)
    audit(team=incident.project.team, actor=actor, action="incident.mute", target=str(incident), of=incident)


@transaction.atomic
def resolve(*, incident: Incident, actor: str, now: datetime) -> Incident:
    """End it by hand: its signals are cleared and what they stood on is not held against the agents again.

    Raises ApiError 409 when another agent joined at this very moment: whoever resolves it should have seen that.
    """
    standing = Signal.objects.filter(incident=incident, cleared_at__isnull=True)
    by_agent = _locked([incident.agent_id, *standing.values_list("agent_id", flat=True)])
    incident = Incident.objects.select_for_update().get(pk=incident.pk)
    if incident.resolved_at:
        return incident
    signals = list(standing.all())
    if any(signal.agent_id not in by_agent for signal in signals):
        raise ApiError(
            409, "incident_changed", "Another agent has just joined this incident. Look again, then resolve it."
        )
    for signal in signals:
        _dismiss(signal, by_agent[signal.agent_id], now)
    close(incident, by_agent.get(incident.agent_id), actor, f"Resolved by {actor}", now)
    audit(team=incident.project.team, actor=actor, action="incident.resolve", target=str(incident), of=incident)
    return incident


def _locked(agent_ids: Iterable[int]) -> dict[int, AgentState]:
    """The hot rows, and then the months, held like a review holds them: who changes an incident takes these first."""
    states = AgentState.objects.select_for_update(of=("self",)).filter(agent_id__in=list(agent_ids))
    found = {state.agent_id: state for state in states.order_by("agent_id").select_related("agent")}
    monthly_spend.lock({state.agent.project_id for state in found.values()})
    return found


def leave(*, agent: Agent, actor: str, now: datetime) -> None:
    """Take an agent that is about to be deleted out of the incidents it shares: those of a host or a network.

    One that bears its name goes on under the name of another that is still silent; one in which it was the last is
    over. What only it was in goes with it. Call it in the transaction that deletes the agent, before anything else.
    """
    mine = Incident.objects.open().filter(Q(agent=agent) | Q(signals__agent=agent))
    standing = Signal.objects.filter(incident__in=mine, cleared_at__isnull=True)
    states = _locked([agent.pk, *standing.values_list("agent_id", flat=True)])
    for incident in Incident.objects.filter(pk__in=mine).order_by("pk").select_for_update():
        others = incident.signals.filter(cleared_at__isnull=True).exclude(agent=agent)
        if incident.agent_id == agent.pk:
            _hand_on(incident, others, states)
        elif not others.exists():
            close(incident, None, actor, f"Over: {agent} was deleted by {actor}", now)


def _hand_on(incident: Incident, others: QuerySet[Signal], states: Mapping[int, AgentState]) -> None:
    taken = Incident.objects.open().filter(agent=OuterRef("agent"))
    heir = others.filter(~Exists(taken), agent__in=states).first()
    if heir is not None:
        incident.agent_id = heir.agent_id
        incident.begin_spend(states[heir.agent_id])
        incident.save(update_fields=["agent", *Incident.SPEND, *Incident.SPEND_BEFORE])


def _dismiss(signal: Signal, state: AgentState, now: datetime) -> None:
    signal.cleared_at = now
    signal.save(update_fields=["cleared_at"])
    memory = state.agent.memory
    if signal.kind in ENDED_BY_A_BEAT:
        state.reported, state.crashed = "shutdown", False
        memory.read_to = state.agent.heartbeats.aggregate(last=Max("id"))["last"] or 0
    elif signal.kind == "stalled":
        state.last_progress_at = now
    elif signal.kind == "loop":
        memory.rules["loop"] = loop.dismissed(memory.rules.get("loop", {}), signal.evidence)
    elif signal.kind == "cost":
        memory.rules["cost"] = cost.dismissed(memory.rules.get("cost", {}), signal.evidence)
        state.lifted = memory.rules["cost"]["lifted"]
        if signal.incident.together:
            monthly_spend.waive(state.agent, signal.evidence)
    for habit in rules.OPT_IN_RULES:
        memory.rules.pop(habit.KIND, None)
    memory.save(update_fields=["rules", "read_to"])
    state.check_at = now
    state.save(update_fields=["reported", "crashed", "last_progress_at", "check_at", "lifted"])
