"""`GET /api/v1/status`: the status of the project's agents, for dashboards and scripts."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from agents.api import examples, schemas
from agents.api.project_view import ProjectView
from agents.models import Agent, Incident
from agents.reporting import agent_status
from agents.reporting.agent_status import AgentStatus
from agents.reporting.payloads import dollars, incident_url, moment
from teams.auth import Caller


def agents_of(project_id: int) -> QuerySet[Agent]:
    """A project's agents by name, with everything their status reads."""
    return agent_status.with_related(Agent.objects.filter(project=project_id)).order_by("name", "pk")


def agents_seen_by(caller: Caller) -> QuerySet[Agent]:
    """As `agents_of` the key's project; a key for one agent sees that one only."""
    agents = agents_of(caller.project_id)
    return agents.filter(names__name=caller.agent) if caller.agent else agents


class StatusView(ProjectView):
    http_method_names = ["get"]
    scope_for = {"GET": "agent"}

    @extend_schema(
        operation_id="status",
        summary="Get the status of all agents",
        tags=["status"],
        parameters=[schemas.AGENT, schemas.LIMIT, schemas.OFFSET],
        responses=schemas.responses(200, schemas.page_of(schemas.AgentStatus)),
        examples=[examples.STATUS],
    )
    def get(self, request: Request) -> Response:
        agents, asked_for = agents_seen_by(self.caller), self.agents_asked_for()
        return self.pages(agents if asked_for is None else agents.filter(pk__in=asked_for.values("pk")), status_dicts)


def status_dicts(agents: list[Agent]) -> list[dict[str, Any]]:
    """Agents for `/status`."""
    return [status_dict(status) for status in agent_status.statuses(agents, timezone.now())]


def status_dict(status: AgentStatus) -> dict[str, Any]:
    incident = status.incident
    return {
        "id": status.agent.pk,
        "name": status.agent.name,
        "status": str(status.status),
        "last_heartbeat_at": moment(status.state.last_beat_at),
        "last_progress_at": moment(status.state.last_progress_at),
        "alive_deadline": moment(status.alive.deadline) if status.alive else None,
        "progress_deadline": moment(status.progress.deadline) if status.progress else None,
        "interval": status.interval,
        "tokens_today": status.tokens,
        "cost_today_usd": dollars(status.cost),
        "priced_today_usd": dollars(status.spend.priced),
        "reported_today_usd": dollars(status.spend.reported),
        "unpriced_tokens_today": status.spend.unpriced,
        "hold": status.state.hold,
        "open_incident": _incident_ref(incident) if incident else None,
    }


def _incident_ref(incident: Incident) -> dict[str, Any]:
    return {"id": incident.pk, "kind": incident.kind, "url": incident_url(incident.pk)}
