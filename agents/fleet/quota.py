"""Who has a place in the team's plan: its oldest agents. The others are paused, and their heartbeats refused.

That happens when a plan becomes smaller; a new name is refused when it first reports, see `registration.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db import transaction
from django.db.models import F

from agents.models import Agent, AgentState
from billing.limits import plan_of
from teams.actors import WATCHDOG
from teams.models import Team
from teams.services import audit


def settle_all(now: datetime) -> None:
    """For every team that has agents without a place: some may have been deleted with their project."""
    for team_id in Agent.objects.filter(over_plan_at__isnull=False).values_list("project__team", flat=True).distinct():
        settle(team_id, now)


@transaction.atomic
def settle(team_id: int, now: datetime) -> None:
    """Give the places of the plan to the team's oldest agents."""
    team = hold(team_id)
    if team is None:
        return
    limit = plan_of(team_id).agents
    ids = list(Agent.objects.filter(project__team=team).order_by("created_at", "pk").values_list("pk", flat=True))
    kept = ids if limit is None else ids[:limit]
    _take_out(team, Agent.objects.filter(pk__in=ids[len(kept) :], over_plan_at=None), now)
    _let_in(team, Agent.objects.filter(pk__in=kept, over_plan_at__isnull=False), now)


def hold(team_id: int) -> Team | None:
    """Lock a team's agents and its places, in the order in which heartbeats lock them: agents first."""
    states = AgentState.objects.select_for_update(of=("self",)).filter(agent__project__team=team_id)
    list(states.order_by("agent_id").values_list("pk"))
    return Team.objects.select_for_update(of=("self",)).filter(pk=team_id).first()


def are_short(team_id: int) -> bool:
    """Whether the team has agents without a place."""
    return Agent.objects.filter(project__team=team_id, over_plan_at__isnull=False).exists()


def _take_out(team: Team, agents: Iterable[Agent], now: datetime) -> None:
    for agent in _looked_at_again(agents, now):
        # Who was paused by a person stays so, whatever becomes of the plan.
        paused_at = agent.paused_at or now
        Agent.objects.filter(pk=agent.pk).update(over_plan_at=now, paused_at=paused_at)
        audit(team=team, actor=WATCHDOG, action="agent.over_plan", target=agent.name, of=agent)


def _let_in(team: Team, agents: Iterable[Agent], now: datetime) -> None:
    for agent in _looked_at_again(agents, now):
        by_plan = Agent.objects.filter(pk=agent.pk, paused_at=F("over_plan_at"))
        by_plan.update(paused_at=None, resumed_at=now)
        Agent.objects.filter(pk=agent.pk).update(over_plan_at=None)
        audit(team=team, actor=WATCHDOG, action="agent.within_plan", target=agent.name, of=agent)


def _looked_at_again(agents: Iterable[Agent], now: datetime) -> list[Agent]:
    found = list(agents)
    AgentState.objects.filter(agent__in=found).update(check_at=now)
    return found
