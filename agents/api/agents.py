"""`/api/v1/agents`: what they are, what is set, what they reported, and what a person may do to them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from agents.api import examples, shapes
from agents.api.changes import AgentChanges, NewAgent
from agents.api.commands import command_dict
from agents.api.project import ProjectView
from agents.api.status import agents_of, status_dict
from agents.api.valid import valid
from agents.commands import dispatch
from agents.fleet import services
from agents.models import Agent, Command
from agents.reporting import agent_status
from agents.reporting.agent_status import Standing
from agents.reporting.payloads import agent_url, moment, spend_dict
from teams.models import Project


class AgentView(ProjectView):
    def agent(self, pk: int) -> Agent:
        return self.found(agents_of(self.caller.project_id), pk)

    def shown(self, pk: int, status: int = 200) -> Response:
        """The agent as it is now."""
        return Response(agent_dicts([self.agent(pk)])[0], status=status)


class AgentsView(AgentView):
    http_method_names = ["get", "post"]

    @extend_schema(
        operation_id="agents",
        summary="All agents, with their settings",
        tags=["agents"],
        parameters=[
            OpenApiParameter("name", str, description="Its own name or an alias."),
            shapes.LIMIT,
            shapes.OFFSET,
        ],
        responses=shapes.answers(200, shapes.page_of(shapes.AgentDetail), 422),
        examples=[examples.AGENTS],
    )
    def get(self, request: Request) -> Response:
        agents = agents_of(self.caller.project_id).prefetch_related("names")
        name = request.query_params.get("name")
        if name:
            agents = agents.filter(names__name=name)
        return self.pages(agents, agent_dicts)

    @extend_schema(
        operation_id="create_agent",
        summary="Make an agent before its first heartbeat, as strict mode asks for",
        tags=["agents"],
        request=NewAgent,
        responses=shapes.answers(201, shapes.AgentDetail, 400, 409, 415, 422),
        examples=[examples.NEW_AGENT, examples.MADE_AGENT],
    )
    def post(self, request: Request) -> Response:
        given = valid(NewAgent, request.data)
        project = Project.objects.get(pk=self.caller.project_id)
        made = services.add_agent(project=project, actor=self.caller.actor, now=timezone.now(), **given)
        return self.shown(made.pk, status=201)


class OneAgentView(AgentView):
    http_method_names = ["get", "patch", "delete"]

    @extend_schema(
        operation_id="agent",
        summary="One agent",
        tags=["agents"],
        responses=shapes.answers(200, shapes.AgentDetail, 404),
        examples=[examples.AGENT],
    )
    def get(self, request: Request, pk: int) -> Response:
        return self.shown(pk)

    @extend_schema(
        operation_id="change_agent",
        summary="Change an agent's settings",
        tags=["agents"],
        request=AgentChanges,
        responses=shapes.answers(200, shapes.AgentDetail, 400, 404, 409, 415, 422),
        examples=[examples.CHANGES, examples.AGENT],
    )
    def patch(self, request: Request, pk: int) -> Response:
        agent, changes = self.agent(pk), valid(AgentChanges, request.data)
        services.change_agent(agent=agent, changes=changes, actor=self.caller.actor, now=timezone.now())
        return self.shown(pk)

    @extend_schema(
        operation_id="delete_agent",
        summary="Delete an agent with its history",
        tags=["agents"],
        responses=shapes.answers(204, None, 404),
    )
    def delete(self, request: Request, pk: int) -> Response:
        services.delete_agent(agent=self.agent(pk), actor=self.caller.actor, now=timezone.now())
        return Response(status=204)


class PauseView(AgentView):
    http_method_names = ["post"]

    @extend_schema(
        operation_id="pause_agent",
        summary="Stop judging an agent",
        tags=["agents"],
        request=None,
        responses=shapes.answers(200, shapes.AgentDetail, 404),
        examples=[examples.AGENT],
    )
    def post(self, request: Request, pk: int) -> Response:
        services.pause(agent=self.agent(pk), actor=self.caller.actor, now=timezone.now())
        return self.shown(pk)


class ResumeView(AgentView):
    http_method_names = ["post"]

    @extend_schema(
        operation_id="resume_agent",
        summary="Judge a paused agent again",
        tags=["agents"],
        request=None,
        responses=shapes.answers(200, shapes.AgentDetail, 404),
        examples=[examples.AGENT],
    )
    def post(self, request: Request, pk: int) -> Response:
        services.resume(agent=self.agent(pk), actor=self.caller.actor, now=timezone.now())
        return self.shown(pk)


class OrderView(AgentView):
    """Makes a command for the runner that watches the agent."""

    http_method_names = ["post"]
    action: ClassVar[str]

    def order(self, request: Request, pk: int) -> Response:
        reason = valid(shapes.CommandReason, request.data or {}).get("reason", "")
        agent, actor = self.agent(pk), self.caller.actor
        command = dispatch.request(agent=agent, action=self.action, actor=actor, reason=reason, now=timezone.now())
        return Response(command_dict(command), status=202)


class RestartView(OrderView):
    action = Command.Action.RESTART

    @extend_schema(
        operation_id="restart_agent",
        summary="Restart an agent through its runner",
        description=(
            "Takes the place of a restart that the watchdog asked for and no runner has taken. 409 says what is "
            "missing, `command_live` while another command is on its way, or `restart_budget`: at most 3 within an "
            "hour and 10 within a day."
        ),
        tags=["agents"],
        request=shapes.CommandReason,
        responses=shapes.answers(202, shapes.CommandDetail, 400, 404, 409, 415, 422),
        examples=[examples.REASON, examples.ORDERED],
    )
    def post(self, request: Request, pk: int) -> Response:
        return self.order(request, pk)


class StopView(OrderView):
    action = Command.Action.STOP

    @extend_schema(
        operation_id="stop_agent",
        summary="Stop an agent through its runner",
        description=(
            "Takes the place of a restart that no runner has taken, whoever asked for it. 409 says what is missing, or "
            "`command_live` while another command is on its way."
        ),
        tags=["agents"],
        request=shapes.CommandReason,
        responses=shapes.answers(202, shapes.CommandDetail, 400, 404, 409, 415, 422),
        examples=[examples.REASON, examples.ORDERED],
    )
    def post(self, request: Request, pk: int) -> Response:
        return self.order(request, pk)


def agent_dicts(agents: list[Agent]) -> list[dict[str, Any]]:
    """Agents in full: status and what is set. Reads `names`, too: fetch them ahead for a list."""
    found = agent_status.of(agents, timezone.now())
    return [{**status_dict(one), "spend": _spend(one), **_settings(one.agent)} for one in found]


def _spend(one: Standing) -> dict[str, Any]:
    spends = {"today": one.spend, "month": one.month, "run": one.run, "ever": one.ever}
    return {
        **{period: spend_dict(spend) for period, spend in spends.items()},
        "unpriced_models": one.models_without_price,
    }


def _settings(agent: Agent) -> dict[str, Any]:
    return {
        "url": agent_url(agent.pk),
        "kind": agent.kind,
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
        "created_at": moment(agent.created_at),
    }


def _float(usd: Decimal | None) -> float | None:
    return None if usd is None else float(usd)
