"""Holds by people: every answer asks the agent's client to stop, until a person ends the hold.

A budget's hold is the review's. Each ends on its own: an agent goes on once neither holds it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from django.db import transaction

from agents.incidents import events
from agents.models import Agent, AgentState, Incident, IncidentEvent
from agents.review import outcome
from teams.services import audit

MAX_REASON: Final = 300


def is_held(agent: Agent) -> bool:
    """Whether a person holds it."""
    return bool(agent.state.hold_reason)


@transaction.atomic
def hold(*, agent: Agent, actor: str, reason: str, now: datetime) -> Agent:
    """Ask the agent's client to stop, from its next heartbeat or tool call on. A second hold replaces the reason."""
    text = f"{actor}: {reason}" if reason else actor
    # First, because hot rows are locked before all others.
    held = {"hold": True, "hold_reason": text[:MAX_REASON], "check_at": now}
    AgentState.objects.filter(agent=agent).update(**held)
    _note(agent, f"Put on hold by {text}", actor, now)
    audit(team=agent.project.team, actor=actor, action="agent.held", target=agent.name, of=agent, data={"why": reason})
    return agent


@transaction.atomic
def end_hold(*, agent: Agent, actor: str, now: datetime) -> Agent:
    """End the hold by a person. A budget that is exceeded holds the agent still. Does nothing when nobody holds it."""
    state = AgentState.objects.select_for_update().get(agent=agent)
    if not state.hold_reason:
        return agent
    state.hold_reason, state.check_at = "", now
    if not outcome.is_over_budget(list(agent.signals.filter(cleared_at__isnull=True))):
        state.hold, state.waiting_until = False, outcome.after_hold(state.waiting_until, now)
    state.save(update_fields=["hold", "hold_reason", "waiting_until", "check_at"])
    _note(agent, f"Hold ended by {actor}", actor, now)
    audit(team=agent.project.team, actor=actor, action="agent.hold_ended", target=agent.name, of=agent)
    return agent


def _note(agent: Agent, text: str, actor: str, now: datetime) -> None:
    """On the timeline of its open incident, if it has one. Notifies nobody."""
    incident = Incident.objects.open().filter(agent=agent).first()
    if incident is not None:
        events.record(incident=incident, kind=IncidentEvent.Kind.NOTE, text=text, actor=actor, now=now)
