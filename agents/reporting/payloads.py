"""Agents and incidents as JSON, the same in the API and in webhooks.

Times are RFC 3339 in UTC, money is dollars with up to six decimal places.
"""

from datetime import UTC, datetime
from typing import Any

from agents.domain.budgets import Spend
from agents.models import Agent, Incident, IncidentEvent, Signal
from teams.links import absolute


def moment(at: datetime | None) -> str | None:
    """A time as RFC 3339 in UTC, e.g. `2026-11-23T20:25:57.123456Z`."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z") if at else None


def dollars(micro: int) -> float:
    """Micro-dollars as dollars."""
    return round(micro / 1_000_000, 6)


def spend_dict(spend: Spend) -> dict[str, Any]:
    """Total cost, how much of it the server priced and the client reported, and tokens without a known price."""
    return {
        "cost_usd": dollars(spend.cost),
        "priced_usd": dollars(spend.priced),
        "reported_usd": dollars(spend.reported),
        "unpriced_tokens": spend.unpriced,
    }


def agent_url(agent_id: int) -> str:
    """The URL of an agent's page."""
    return absolute("admin:agents_agent_change", agent_id)


def incident_url(incident_id: int) -> str:
    """The URL of an incident's page."""
    return absolute("admin:agents_incident_change", incident_id)


def agent_ref(agent: Agent) -> dict[str, Any]:
    """A reference to an agent."""
    return {"id": agent.pk, "name": agent.name, "url": agent_url(agent.pk)}


def incident_dict(incident: Incident) -> dict[str, Any]:
    """A full incident. Reads `agent.state`, `signals` (with `agent`) and `events`: prefetch them for a list."""
    signals = list(incident.signals.all())
    first = next((signal for signal in signals if signal.kind == incident.kind), None)
    return {
        "id": incident.pk,
        "agent": agent_ref(incident.agent),
        "kind": incident.kind,
        "kinds": sorted({incident.kind, *(signal.kind for signal in signals)}),
        "severity": incident.severity,
        "state": str(incident.state),
        "started_at": moment(incident.started_at),
        "opened_at": moment(incident.opened_at),
        "acknowledged_at": moment(incident.acknowledged_at),
        "resolved_at": moment(incident.resolved_at),
        "snoozed_until": moment(incident.snoozed_until),
        "reason": incident.reason,
        "evidence": first.evidence if first else {},
        **spend_dict(Spend(incident.spent, incident.spent_priced, incident.spent_unpriced)),
        "restarts": incident.restarts,
        "time_to_recovery": incident.time_to_recovery,
        "restart_to_recovery": incident.recovered_in,
        "signals": [_signal(signal) for signal in signals],
        "timeline": [_event(event) for event in incident.events.all()],
        "url": incident_url(incident.pk),
    }


def _signal(signal: Signal) -> dict[str, Any]:
    return {
        "kind": signal.kind,
        "severity": signal.severity,
        "agent": agent_ref(signal.agent),
        "reason": signal.reason,
        "evidence": signal.evidence,
        "started_at": moment(signal.started_at),
        "opened_at": moment(signal.opened_at),
        "cleared_at": moment(signal.cleared_at),
    }


def _event(event: IncidentEvent) -> dict[str, Any]:
    return {
        "kind": event.kind,
        "at": moment(event.at),
        "actor": event.actor,
        "text": event.text,
        "data": event.data,
    }
