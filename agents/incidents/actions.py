"""What people do with an incident: acknowledge, note, mute, resolve; and what is left of it when agents are deleted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from django.db import transaction
from django.db.models import Exists, Max, OuterRef, Q, QuerySet

from agents import rules
from agents.domain import signal_kinds
from agents.incidents.events import record
from agents.incidents.lifecycle import close
from agents.models import Agent, AgentState, Incident, IncidentEvent, Signal
from agents.rules import cost
from agents.storage import monthly_spend
from teams import rate_limits
from teams.errors import ApiError
from teams.services import audit


@transaction.atomic
def acknowledge(*, incident: Incident, actor: str, now: datetime) -> Incident:
    """Show the team that `actor` is working on it. Does nothing if it is acknowledged or resolved already."""
    incident = Incident.objects.select_for_update().get(pk=incident.pk)
    if incident.acknowledged_at or incident.resolved_at:
        return incident
    incident.acknowledged_at, incident.acknowledged_by = now, actor
    incident.save(update_fields=["acknowledged_at", "acknowledged_by"])
    record(
        incident=incident, kind=IncidentEvent.Kind.ACKNOWLEDGED, text=f"Acknowledged by {actor}", actor=actor, now=now
    )
    _audit(incident, "incident.acknowledge", actor)
    return incident


@transaction.atomic
def note(*, incident: Incident, actor: str, text: str, now: datetime) -> None:
    """Add a note to the timeline. Raises ApiError 422 when it is empty, 429 for too many by this person."""
    if not text:
        raise ApiError(422, "invalid", "Enter a note.")
    rate_limits.spend(rate_limits.NOTES, actor, now)
    record(incident=incident, kind=IncidentEvent.Kind.NOTE, text=text, actor=actor, now=now)
    _audit(incident, "incident.note", actor)


@transaction.atomic
def mute(*, incident: Incident, actor: str, now: datetime) -> None:
    """Stop all notifications, including recovery. Does nothing if the incident is muted or resolved already."""
    if Incident.objects.open().filter(pk=incident.pk, muted_at=None).update(muted_at=now):
        _note_muting(incident, f"Muted by {actor}", actor, now, is_muted=True)
        _audit(incident, "incident.mute", actor)


@transaction.atomic
def unmute(*, incident: Incident, actor: str, now: datetime) -> None:
    """Notify again of what happens from now on. Does nothing if the incident is not muted, or resolved."""
    if Incident.objects.open().filter(pk=incident.pk, muted_at__isnull=False).update(muted_at=None):
        _note_muting(incident, f"Unmuted by {actor}", actor, now, is_muted=False)
        _audit(incident, "incident.unmute", actor)


def _note_muting(incident: Incident, text: str, actor: str, now: datetime, *, is_muted: bool) -> None:
    """Raises ApiError 429 for too many by this person."""
    rate_limits.spend(rate_limits.NOTES, actor, now)
    data = {"muted": is_muted}
    record(incident=incident, kind=IncidentEvent.Kind.NOTE, text=text, actor=actor, now=now, data=data)


@transaction.atomic
def resolve(*, incident: Incident, actor: str, now: datetime) -> Incident:
    """Close the incident by hand. Its signals are dismissed: only new evidence raises them again.

    Raises ApiError 409 when another agent joined at the same moment, so that nobody resolves what they have not seen.
    """
    open_signals = Signal.objects.filter(incident=incident, cleared_at__isnull=True)
    states = _locked([incident.agent_id, *open_signals.values_list("agent_id", flat=True)])
    incident = Incident.objects.select_for_update().get(pk=incident.pk)
    if incident.resolved_at:
        return incident
    # Read again under the lock: the first reading only said which agents to lock.
    signals = list(open_signals.all())
    if any(signal.agent_id not in states for signal in signals):
        raise ApiError(
            409, "incident_changed", "Another agent just joined this incident. Review it, then resolve it again."
        )
    for signal in signals:
        _dismiss(signal, states[signal.agent_id], now)
    close(incident, states.get(incident.agent_id), actor, f"Resolved by {actor}", now)
    _audit(incident, "incident.resolve", actor)
    return incident


def _audit(incident: Incident, action: str, actor: str) -> None:
    audit(team=incident.project.team, actor=actor, action=action, target=str(incident), of=incident)


def _locked(agent_ids: Iterable[int]) -> dict[int, AgentState]:
    """Lock hot rows, then months: the order of a review, so that the two cannot deadlock. Incidents come last."""
    rows = AgentState.objects.select_for_update(of=("self",)).filter(agent_id__in=list(agent_ids))
    states = {state.agent_id: state for state in rows.order_by("agent_id").select_related("agent")}
    monthly_spend.lock({state.agent.project_id for state in states.values()})
    return states


def _dismiss(signal: Signal, state: AgentState, now: datetime) -> None:
    """Clear the signal and forget what it was based on."""
    signal.cleared_at = now
    signal.save(update_fields=["cleared_at"])
    traits, memory = signal_kinds.traits(signal.kind), state.agent.memory
    memory.rules = rules.dismissed(memory.rules, signal.kind, signal.evidence)
    if traits.ends_by_heartbeat:
        state.reported, state.crashed = "shutdown", False
        # Heartbeats that were not reviewed yet would raise it again.
        memory.read_to = state.agent.heartbeats.aggregate(last=Max("id"))["last"] or 0
    if traits.ends_by_progress:
        state.last_progress_at = now
    if traits.is_budget:
        _waive_budgets(signal, state)
    memory.save(update_fields=["rules", "read_to"])
    state.check_at = now
    state.save(update_fields=["reported", "crashed", "last_progress_at", "check_at", "lifted"])


def _waive_budgets(signal: Signal, state: AgentState) -> None:
    """Let heartbeats know at once, before the next review: they decide on holds by the hot row alone."""
    state.lifted = state.agent.memory.rules.get(cost.KIND, {}).get("lifted")
    if signal.incident.together:
        monthly_spend.waive(state.agent, signal.evidence)


def leave_shared(*, agent: Agent, actor: str, now: datetime) -> None:
    """Take an agent that is about to be deleted out of the incidents that it shares with others.

    A shared incident that bears its name continues under the name of another agent; without any other open signal it
    is closed. Call it first in the transaction that deletes the agent, because it locks hot rows.
    """
    own = Incident.objects.open().filter(Q(agent=agent) | Q(signals__agent=agent))
    open_signals = Signal.objects.filter(incident__in=own, cleared_at__isnull=True)
    states = _locked([agent.pk, *open_signals.values_list("agent_id", flat=True)])
    for incident in Incident.objects.filter(pk__in=own).order_by("pk").select_for_update():
        others = incident.signals.filter(cleared_at__isnull=True).exclude(agent=agent)
        if incident.agent_id == agent.pk:
            _hand_over(incident, others, states)
        elif not others.exists():
            close(incident, None, actor, f"Closed: {agent} was deleted by {actor}", now)


def _hand_over(incident: Incident, others: QuerySet[Signal], states: Mapping[int, AgentState]) -> None:
    """Give the incident to the first other agent that does not have an open incident of its own."""
    taken = Incident.objects.open().filter(agent=OuterRef("agent"))
    heir = others.filter(~Exists(taken), agent__in=states).first()
    if heir is not None:
        incident.agent_id = heir.agent_id
        incident.begin_spend(states[heir.agent_id])
        incident.save(update_fields=["agent", *Incident.SPEND, *Incident.SPEND_BEFORE])
