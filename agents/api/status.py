"""`GET /api/v1/status`: the state of the project's agents, for dashboards and scripts."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from agents import clocks
from agents.api import examples, shapes
from agents.api.project import ProjectView
from agents.models import Agent, AgentState
from agents.representation import dollars, incident_url, moment


def agents_of(project_id: int) -> QuerySet[Agent]:
    """A project's agents with all that their status reads."""
    return Agent.objects.filter(project=project_id).select_related("project", "state__incident").order_by("name", "pk")


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
        now = timezone.now()
        return self.page(agents_of(self.caller.project_id), lambda agent: status_dict(agent, now))


def status_dict(agent: Agent, now: datetime) -> dict[str, Any]:
    """An agent as `/status` shows it. Reads `project`, `state` and `state.incident`: fetch them ahead for a list."""
    state = agent.state
    shown = clocks.shown(state, agent, agent.project, now)
    tokens, cost = _today(agent, now)
    return {
        "id": agent.pk,
        "name": agent.name,
        "status": str(shown.status),
        "last_heartbeat_at": moment(state.last_beat_at),
        "last_progress_at": moment(state.last_progress_at),
        "alive_deadline": moment(shown.alive_deadline),
        "progress_deadline": moment(shown.progress_deadline),
        "interval": clocks.interval(clocks.Settings(agent.interval), state),
        "tokens_today": tokens,
        "cost_today_usd": dollars(cost),
        "open_incident": _incident_ref(state),
    }


def _today(agent: Agent, now: datetime) -> tuple[int, int]:
    """Tokens and micro-dollars since midnight in the project's zone; the hot row may still hold yesterday's."""
    state = agent.state
    if state.day != now.astimezone(ZoneInfo(agent.project.time_zone)).date():
        return 0, 0
    return state.tokens_today, state.cost_today


def _incident_ref(state: AgentState) -> dict[str, Any] | None:
    incident = state.incident
    if incident is None or incident.resolved_at is not None:
        return None
    return {"id": incident.pk, "kind": incident.kind, "url": incident_url(incident.pk)}
