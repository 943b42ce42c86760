"""`/api/v1/agents`: status, settings, and actions on agents."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any, ClassVar, Final

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from agents.api import examples, schemas
from agents.api.changes import AgentChanges, NewAgent
from agents.api.commands import command_dict
from agents.api.project_view import ProjectView
from agents.api.status import agents_of, agents_seen_by, status_dict
from agents.api.validation import validated
from agents.commands import dispatch
from agents.domain.wire.names import agent_name
from agents.fleet import holds, services
from agents.models import Agent, AgentName, Command, Status
from agents.reporting import agent_status
from agents.reporting.agent_status import AgentStatus
from agents.reporting.payloads import agent_url, moment, spend_dict
from teams.errors import ApiError
from teams.models import Project

# Statuses in which an agent does no work.
UNHEALTHY: Final = (Status.DOWN, Status.STALLED)


class AgentView(ProjectView):
    # Below `agents/{id}`, and below `agents/by-name/{name}`: clients know names.

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if "name" in self.kwargs:
            self.kwargs["pk"] = self._named(self.kwargs.pop("name"))

    def _named(self, name: str) -> int:
        """Raises 404, also for agents of other projects."""
        name = agent_name(name)
        pk = AgentName.objects.filter(project=self.caller.project_id, name=name).values_list("agent", flat=True).first()
        if pk is None:
            raise ApiError(404, "not_found", f"This project has no agent named “{name}”.")
        return pk

    def agent(self, pk: int) -> Agent:
        return self.get_or_404(agents_seen_by(self.caller), pk)

    def shown(self, pk: int, status: int = 200) -> Response:
        """The response with the agent's current state."""
        return Response(agent_dicts([self.agent(pk)])[0], status=status)


class AgentsView(AgentView):
    http_method_names = ["get", "post"]

    @extend_schema(
        operation_id="agents",
        summary="List agents with their settings",
        tags=["agents"],
        parameters=[
            OpenApiParameter("name", str, description="The agent's name or an alias."),
            schemas.AGENT,
            schemas.LIMIT,
            schemas.OFFSET,
        ],
        responses=schemas.responses(200, schemas.page_of(schemas.AgentDetail), 422),
        examples=[examples.AGENTS],
    )
    def get(self, request: Request) -> Response:
        agents = agents_of(self.caller.project_id).prefetch_related("names")
        name = request.query_params.get("name")
        if name:
            agents = agents.filter(names__name=name)
        if (asked_for := self.agents_asked_for()) is not None:
            agents = agents.filter(pk__in=asked_for.values("pk"))
        return self.pages(agents, agent_dicts)

    @extend_schema(
        operation_id="create_agent",
        summary="Create an agent before its first heartbeat, as strict mode requires",
        tags=["agents"],
        request=NewAgent,
        responses=schemas.responses(201, schemas.AgentDetail, 400, 409, 415, 422),
        examples=[examples.NEW_AGENT, examples.MADE_AGENT],
    )
    def post(self, request: Request) -> Response:
        settings = validated(NewAgent, request.data)
        project = Project.objects.get(pk=self.caller.project_id)
        agent = services.add_agent(project=project, actor=self.caller.actor, now=timezone.now(), **settings)
        return self.shown(agent.pk, status=201)


class OneAgentView(AgentView):
    http_method_names = ["get", "patch", "delete"]

    @extend_schema(
        operation_id="agent",
        summary="Get an agent",
        tags=["agents"],
        responses=schemas.responses(200, schemas.AgentDetail, 404),
        examples=[examples.AGENT],
    )
    def get(self, request: Request, pk: int) -> Response:
        return self.shown(pk)

    @extend_schema(
        operation_id="change_agent",
        summary="Change an agent's settings",
        tags=["agents"],
        request=AgentChanges,
        responses=schemas.responses(200, schemas.AgentDetail, 400, 404, 409, 415, 422),
        examples=[examples.CHANGES, examples.AGENT],
    )
    def patch(self, request: Request, pk: int) -> Response:
        agent, changes = self.agent(pk), validated(AgentChanges, request.data)
        services.change_agent(agent=agent, changes=changes, actor=self.caller.actor, now=timezone.now())
        return self.shown(pk)

    @extend_schema(
        operation_id="delete_agent",
        summary="Delete an agent and its history",
        tags=["agents"],
        responses=schemas.responses(204, None, 404),
    )
    def delete(self, request: Request, pk: int) -> Response:
        services.delete_agent(agent=self.agent(pk), actor=self.caller.actor, now=timezone.now())
        return Response(status=204)


class HealthView(AgentView):
    http_method_names = ["get", "head"]
    scope_for = {"GET": "agent", "HEAD": "agent"}

    @extend_schema(
        operation_id="agent_health",
        summary="Probe an agent's health",
        description=(
            "For load balancers and Kubernetes: 503 while the agent is down or stalled, else 200. Also at "
            "`/agents/by-name/{name}/health` and `/agents/{name}/health`."
        ),
        tags=["agents"],
        responses={
            **schemas.responses(200, schemas.Health, 404),
            503: OpenApiResponse(schemas.Health, "Down or stalled."),
        },
        examples=[examples.HEALTH],
    )
    def get(self, request: Request, pk: int) -> Response:
        agent = self.agent(pk)
        if self.caller.agent and not agent.names.filter(name=self.caller.agent).exists():
            raise ApiError(404, "not_found", f"This API key is for the agent “{self.caller.agent}” only.")
        (status,) = agent_status.statuses([agent], timezone.now())
        body = {"name": status.agent.name, "status": str(status.status)}
        return Response(body, status=503 if status.status in UNHEALTHY else 200)


class AgentActionView(AgentView):
    http_method_names = ["post"]

    def act(self, action: Callable[..., object], pk: int) -> Response:
        """Call a service with the agent; respond with its new state."""
        action(agent=self.agent(pk), actor=self.caller.actor, now=timezone.now())
        return self.shown(pk)


class PauseView(AgentActionView):
    @extend_schema(
        operation_id="pause_agent",
        summary="Pause monitoring of an agent",
        description="Until the time in `until`, else until it is resumed. Does nothing if it is paused already.",
        tags=["agents"],
        request=schemas.Pause,
        responses=schemas.responses(200, schemas.AgentDetail, 400, 404, 415, 422),
        examples=[examples.PAUSE, examples.AGENT],
    )
    def post(self, request: Request, pk: int) -> Response:
        until = validated(schemas.Pause, request.data or {}).get("until")
        return self.act(partial(services.pause, until=until), pk)


class ResumeView(AgentActionView):
    @extend_schema(
        operation_id="resume_agent",
        summary="Resume monitoring of an agent",
        tags=["agents"],
        request=None,
        responses=schemas.responses(200, schemas.AgentDetail, 404),
        examples=[examples.AGENT],
    )
    def post(self, request: Request, pk: int) -> Response:
        return self.act(services.resume, pk)


class ReleaseView(AgentActionView):
    @extend_schema(
        operation_id="release_agent_names",
        summary="Release an agent's names from their API keys",
        description="The next key that reports under a name owns it.",
        tags=["agents"],
        request=None,
        responses=schemas.responses(200, schemas.AgentDetail, 404),
        examples=[examples.AGENT],
    )
    def post(self, request: Request, pk: int) -> Response:
        return self.act(services.release_names, pk)


class HoldView(AgentActionView):
    http_method_names = ["post", "delete"]
    scope_for = {"POST": "act", "DELETE": "act"}

    @extend_schema(
        operation_id="hold_agent",
        summary="Put an agent on hold",
        description=(
            "Every answer asks its client to stop, and the next tool call of a coding agent is denied, until the hold "
            "is ended. The process keeps running. A second hold replaces the reason."
        ),
        tags=["agents"],
        request=schemas.CommandReason,
        responses=schemas.responses(200, schemas.AgentDetail, 400, 404, 415, 422),
        examples=[examples.REASON, examples.AGENT],
    )
    def post(self, request: Request, pk: int) -> Response:
        reason = validated(schemas.CommandReason, request.data or {}).get("reason", "")
        return self.act(partial(holds.hold, reason=reason), pk)

    @extend_schema(
        operation_id="end_hold",
        summary="End a hold by a person",
        description="An agent whose budget is exceeded stays on hold.",
        tags=["agents"],
        responses=schemas.responses(200, schemas.AgentDetail, 404),
        examples=[examples.AGENT],
    )
    def delete(self, request: Request, pk: int) -> Response:
        return self.act(holds.end_hold, pk)


class CommandView(AgentView):
    # Creates a command for the runner that manages the agent.

    http_method_names = ["post"]
    scope_for = {"POST": "act"}
    action: ClassVar[str]

    def command(self, request: Request, pk: int) -> Response:
        reason = validated(schemas.CommandReason, request.data or {}).get("reason", "")
        agent, actor = self.agent(pk), self.caller.actor
        command = dispatch.request(agent=agent, action=self.action, actor=actor, reason=reason, now=timezone.now())
        return Response(command_dict(command), status=202)


class RestartView(CommandView):
    action = Command.Action.RESTART

    @extend_schema(
        operation_id="restart_agent",
        summary="Restart an agent through its runner",
        description=(
            "Replaces a restart that the watchdog requested and no runner has picked up. Responds with 409 if the "
            "agent can't be restarted; `code` says why, e.g. `command_live` while another command is in progress, or "
            "`restart_budget` after 3 restarts within an hour or 10 within a day."
        ),
        tags=["agents"],
        request=schemas.CommandReason,
        responses=schemas.responses(202, schemas.CommandDetail, 400, 404, 409, 415, 422),
        examples=[examples.REASON, examples.ORDERED],
    )
    def post(self, request: Request, pk: int) -> Response:
        return self.command(request, pk)


class StopView(CommandView):
    action = Command.Action.STOP

    @extend_schema(
        operation_id="stop_agent",
        summary="Stop an agent through its runner",
        description=(
            "Replaces any restart that no runner has picked up. Responds with 409 if the agent can't be stopped; "
            "`code` says why, e.g. `command_live` while another command is in progress."
        ),
        tags=["agents"],
        request=schemas.CommandReason,
        responses=schemas.responses(202, schemas.CommandDetail, 400, 404, 409, 415, 422),
        examples=[examples.REASON, examples.ORDERED],
    )
    def post(self, request: Request, pk: int) -> Response:
        return self.command(request, pk)


def agent_dicts(agents: list[Agent]) -> list[dict[str, Any]]:
    """Agents in full: status, spend and settings. Also reads `names`: prefetch them for a list."""
    statuses = agent_status.statuses(agents, timezone.now())
    return [{**status_dict(status), "spend": _spend(status), **_settings(status.agent)} for status in statuses]


def _spend(status: AgentStatus) -> dict[str, Any]:
    periods = {"today": status.spend, "month": status.month, "run": status.run, "ever": status.ever}
    return {
        **{period: spend_dict(spend) for period, spend in periods.items()},
        "unpriced_models": status.models_without_price,
    }


def _settings(agent: Agent) -> dict[str, Any]:
    return {
        "url": agent_url(agent.pk),
        "kind": agent.kind,
        "description": agent.description,
        "owner": agent.owner,
        "runbook_url": agent.runbook_url,
        "agent_type": agent.agent_type,
        "labels": agent.labels,
        "aliases": services.aliases_of(agent),
        "interval_set": agent.interval,
        "grace": agent.grace,
        "progress_timeout": agent.progress_timeout,
        "daily_budget_usd": _float(agent.daily_budget_usd),
        "run_budget_usd": _float(agent.run_budget_usd),
        "daily_token_limit": agent.daily_token_limit,
        "restart_policy": agent.restart_policy,
        "restart_type": agent.restart_type,
        "restart_target": agent.restart_target,
        "unsafe_to_repeat": agent.unsafe_to_repeat,
        "rules": agent.rules,
        "paused_at": moment(agent.paused_at),
        "paused_until": moment(agent.paused_until),
        "created_at": moment(agent.created_at),
    }


def _float(usd: Decimal | None) -> float | None:
    return None if usd is None else float(usd)
