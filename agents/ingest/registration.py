"""Creates an agent for a name that reports for the first time, within the plan's agent limit."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from agents import rules
from agents.domain import budgets
from agents.domain.heartbeat import Beat
from agents.models import Agent, AgentMemory, AgentName, AgentState
from agents.rules import cost
from billing import limits, refusals
from teams.auth import Caller
from teams.errors import ApiError
from teams.models import Project, Team


def register(unknown: Mapping[int, tuple[Caller, Beat]], now: datetime) -> dict[int, ApiError]:
    """Create an agent for each of these heartbeats; call it in the heartbeats' transaction.

    Returns refusals by the same index: 403 `unknown_agent` in strict mode, 403 `agent_limit_reached` over the plan's
    limit, 403 `unknown_project` when the project was deleted.
    """
    refused: dict[int, ApiError] = {}
    for index, (caller, beat) in unknown.items():
        error = _register_one(caller, beat, now)
        if error is not None:
            refused[index] = error
    return refused


def _register_one(caller: Caller, beat: Beat, now: datetime) -> ApiError | None:
    if caller.strict:
        message = f"The project is in strict mode and has no agent “{beat.agent}”. Create it or turn off strict mode."
        return ApiError(403, "unknown_agent", message)
    # Locking the team's row queues new agents: two first heartbeats at once must not both pass the limit.
    team = Team.objects.select_for_update(of=("self",)).filter(pk=caller.team_id).first()
    project = Project.objects.filter(pk=caller.project_id).first()
    if team is None or project is None:
        return ApiError(403, "unknown_project", "The project of this key has been deleted.")
    if AgentName.objects.filter(project_id=caller.project_id, name=beat.agent).exists():
        return None
    refusal = limits.refusal(caller.team_id, "agents")
    if refusal is not None:
        refusals.record(team_id=caller.team_id, project_id=caller.project_id, name=beat.agent, now=now)
    else:
        create_agent(project=project, name=beat.agent, agent_type=beat.agent_type or "", now=now)
    return refusal


def turn_away(caller: Caller, name: str, now: datetime) -> ApiError:
    """Record that an agent over the plan's limit reported; returns the refusal."""
    refusals.record(team_id=caller.team_id, project_id=caller.project_id, name=name, now=now)
    return over_limit(caller.team_id)


def over_limit(team_id: int) -> ApiError:
    """The refusal for an agent that has been over the limit since a downgrade."""
    plan = limits.plan_of(team_id)
    message = f"The {plan.label} plan monitors {plan.agents} agents, the oldest first. Delete one of those"
    return ApiError(403, "agent_limit_reached", f"{message} or upgrade the plan: {limits.usage_url()}")


def create_agent(*, project: Project, name: str, now: datetime, agent_type: str = "") -> Agent:
    """Create an agent with its name and hot row. Raises IntegrityError when the name is taken."""
    agent = Agent.objects.create(project_id=project.pk, name=name, agent_type=agent_type, created_at=now)
    AgentName.objects.create(project_id=project.pk, name=name, agent=agent)
    # The first heartbeats are answered before any review could tell them that the budget rule is off.
    waived = None if rules.in_force(cost, project.rules).on else budgets.ALL_WAIVED
    AgentState.objects.create(agent=agent, lifted=waived)
    AgentMemory.objects.create(agent=agent)
    return agent
