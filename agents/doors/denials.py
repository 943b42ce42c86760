"""What an agent on hold is told at a door, and what its timeline says about it: one line per cause, not per call."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from agents.domain import signal_kinds
from agents.domain.hot_row import Answer
from agents.incidents import events, nudges
from agents.models import AgentState, Incident, Signal, SignalKind
from agents.review import review
from teams.links import absolute

BUDGET: Final = "a person raises the budget or resolves the incident"
PERSON: Final = "a person ends it"
OTHERS: Final = "a person resolves the incident"


def deny(answer: Answer, *, what: str, door: str, now: datetime) -> str:
    """Why the next call is denied and what lifts that, for the model and for the person in front of it.

    `what` is the call, such as `the tool Bash`, `door` the program that asked.
    """
    held_by = AgentState.objects.filter(pk=answer.agent_id).values_list("hold_reason", flat=True).first()
    if held_by:
        return _held_by_person(answer, held_by, f"Denied {what} of {door}. {held_by}.", now)
    signal = _cause(answer, now)
    if signal is None:
        return _text(answer.reason or "a budget is used up", BUDGET, (answer.incident or {}).get("url"))
    lifts = BUDGET if signal_kinds.traits(signal.kind).is_budget else OTHERS
    text = f"Denied {what} of {door}. The hold ends when {lifts}."
    events.note_once(incident=signal.incident, code=f"denied:{signal.kind}", text=text, now=now)
    return _text(signal.reason, lifts, (answer.incident or {}).get("url"))


def _held_by_person(answer: Answer, held_by: str, text: str, now: datetime) -> str:
    incident = Incident.objects.open().filter(pk=(answer.incident or {}).get("id", 0)).first()
    if incident is not None:
        events.note_once(incident=incident, code="denied:person", text=text, now=now)
    return _text(held_by, PERSON, None)


def deny_state(state: AgentState, *, what: str, door: str, now: datetime) -> str:
    """The same for a door that asks without a report of its own."""
    incident = None
    if state.incident_id:
        url = absolute("admin:agents_incident_change", state.incident_id)
        incident = {"id": state.incident_id, "kind": state.incident_kind, "url": url}
    answer = Answer(agent_id=state.agent_id, incident=incident, hold=True)
    return deny(answer, what=what, door=door, now=now)


def _text(reason: str, lifts: str, url: str | None) -> str:
    where = f": {url}" if url else ""
    return f"ClevAgent Watchdog holds this agent: {reason}. Do not retry. The hold ends when {lifts}{where}"


def _cause(answer: Answer, now: datetime) -> Signal | None:
    """The signal that holds the agent. The heartbeat that exceeds a budget comes before its review."""
    if answer.incident is None:
        review.review([answer.agent_id], now)
    signals = Signal.objects.filter(agent=answer.agent_id, cleared_at__isnull=True).select_related("incident")
    budgets = signal_kinds.where(lambda row: row.is_budget)
    by_kind = {signal.kind: signal for signal in signals}
    found = [by_kind[kind] for kind in (*sorted(budgets), SignalKind.LOOP) if kind in by_kind]
    return found[0] if found else None


def nudge(answer: Answer, now: datetime) -> str | None:
    """A word to the model about its loop, if that is armed and it was not told before."""
    if answer.incident is None:
        return None
    open_loops = Signal.objects.filter(agent=answer.agent_id, kind=SignalKind.LOOP, cleared_at__isnull=True)
    signal = open_loops.select_related("incident", "agent__project").first()
    return nudges.tell(signal, now) if signal else None
