"""How a name that reports for the first time becomes an agent, within the team's plan."""

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
    """Make an agent for each name that has none; call it in the heartbeat's transaction.

    Returns the refusals, by the caller's own index: 403 `unknown_agent` in strict mode, 403 `agent_limit_reached`
    over the plan, 403 `unknown_project` when the project is gone.
    """
    refused: dict[int, ApiError] = {}
    for index, (caller, beat) in unknown.items():
        error = _register_one(caller, beat, now)
        if error is not None:
            refused[index] = error
    return refused


def _register_one(caller: Caller, beat: Beat, now: datetime) -> ApiError | None:
    if caller.strict:
        message = f"The project is in strict mode and has no agent “{beat.agent}”. Create it, or turn strict mode off."
        return ApiError(403, "unknown_agent", message)
    # The team's row is the queue for new agents: two first beats at once must not both take the last place.
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
    """Note that an agent without a place reported, and say why it is not heard."""
    refusals.record(team_id=caller.team_id, project_id=caller.project_id, name=name, now=now)
    return without_place(caller.team_id)


def without_place(team_id: int) -> ApiError:
    """The refusal of an agent that was there before the plan became smaller."""
    plan = limits.plan_of(team_id)
    message = f"The {plan.label} plan has {plan.agents} places for agents, which the oldest have. Delete one of them"
    return ApiError(403, "agent_limit_reached", f"{message}, or change the plan: {limits.usage_url()}")


def create_agent(*, project: Project, name: str, now: datetime, agent_type: str = "") -> Agent:
    """An agent with its name and its hot row. Raises IntegrityError when the name is taken."""
    agent = Agent.objects.create(project_id=project.pk, name=name, agent_type=agent_type, created_at=now)
    AgentName.objects.create(project_id=project.pk, name=name, agent=agent)
    # Its first heartbeats are answered before a review can tell them that nothing is to be held here.
    lifted = None if rules.in_force(cost, project.rules).on else budgets.ALL_LIFTED
    AgentState.objects.create(agent=agent, lifted=lifted)
    AgentMemory.objects.create(agent=agent)
    return agent
