"""`GET /api/v1/status`: the state of the project's agents, for dashboards and scripts."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from agents.api import examples, shapes
from agents.api.project import ProjectView
from agents.models import Agent, Incident
from agents.reporting import agent_status
from agents.reporting.agent_status import Standing
from agents.reporting.payloads import dollars, incident_url, moment


def agents_of(project_id: int) -> QuerySet[Agent]:
    """A project's agents with all that their status reads, by name."""
    return agent_status.fetched(Agent.objects.filter(project=project_id)).order_by("name", "pk")


class StatusView(ProjectView):
    http_method_names = ["get"]
    scope_for = {"GET": "agent"}

    @extend_schema(
        operation_id="status",
        summary="The state of all agents",
        tags=["status"],
        parameters=[shapes.LIMIT, shapes.OFFSET],
        responses=shapes.answers(200, shapes.page_of(shapes.AgentStatus)),
        examples=[examples.STATUS],
    )
    def get(self, request: Request) -> Response:
        return self.pages(agents_of(self.caller.project_id), status_dicts)


def status_dicts(agents: list[Agent]) -> list[dict[str, Any]]:
    """Agents as `/status` shows them."""
    return [status_dict(one) for one in agent_status.of(agents, timezone.now())]


def status_dict(one: Standing) -> dict[str, Any]:
    incident = one.incident
    return {
        "id": one.agent.pk,
        "name": one.agent.name,
        "status": str(one.status),
        "last_heartbeat_at": moment(one.state.last_beat_at),
        "last_progress_at": moment(one.state.last_progress_at),
        "alive_deadline": moment(one.alive.deadline) if one.alive else None,
        "progress_deadline": moment(one.progress.deadline) if one.progress else None,
        "interval": one.interval,
        "tokens_today": one.tokens,
        "cost_today_usd": dollars(one.cost),
        "priced_today_usd": dollars(one.spend.priced),
        "reported_today_usd": dollars(one.spend.reported),
        "unpriced_tokens_today": one.spend.unpriced,
        "hold": one.state.hold,
        "open_incident": _incident_ref(incident) if incident else None,
    }


def _incident_ref(incident: Incident) -> dict[str, Any]:
    return {"id": incident.pk, "kind": incident.kind, "url": incident_url(incident.pk)}
