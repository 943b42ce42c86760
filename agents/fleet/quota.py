"""Keeps a team within the agent limit of its plan after a downgrade: the oldest agents stay, the others are paused and
their heartbeats rejected. A new agent over the limit is rejected by `registration.py`."""

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
    """Settle every team with agents over the limit: others may have been deleted with their project since."""
    for team_id in Agent.objects.filter(over_plan_at__isnull=False).values_list("project__team", flat=True).distinct():
        settle(team_id, now)


@transaction.atomic
def settle(team_id: int, now: datetime) -> None:
    """Pause the team's agents over the limit, and resume those that are within it again."""
    team = lock_team(team_id)
    if team is None:
        return
    limit = plan_of(team_id).agents
    ids = list(Agent.objects.filter(project__team=team).order_by("created_at", "pk").values_list("pk", flat=True))
    within = ids if limit is None else ids[:limit]
    _suspend(team, Agent.objects.filter(pk__in=ids[len(within) :], over_plan_at=None), now)
    _readmit(team, Agent.objects.filter(pk__in=within, over_plan_at__isnull=False), now)


def lock_team(team_id: int) -> Team | None:
    """Lock a team's hot rows and the team itself, in the order in which heartbeats lock them."""
    states = AgentState.objects.select_for_update(of=("self",)).filter(agent__project__team=team_id)
    list(states.order_by("agent_id").values_list("pk"))
    return Team.objects.select_for_update(of=("self",)).filter(pk=team_id).first()


def has_agents_over_limit(team_id: int) -> bool:
    return Agent.objects.filter(project__team=team_id, over_plan_at__isnull=False).exists()


def _suspend(team: Team, agents: Iterable[Agent], now: datetime) -> None:
    for agent in _marked_for_review(agents, now):
        # An agent that a person paused keeps its time, so `_readmit` does not resume it.
        paused_at = agent.paused_at or now
        Agent.objects.filter(pk=agent.pk).update(over_plan_at=now, paused_at=paused_at)
        audit(team=team, actor=WATCHDOG, action="agent.over_plan", target=agent.name, of=agent)


def _readmit(team: Team, agents: Iterable[Agent], now: datetime) -> None:
    for agent in _marked_for_review(agents, now):
        paused_by_plan = Agent.objects.filter(pk=agent.pk, paused_at=F("over_plan_at"))
        paused_by_plan.update(paused_at=None, resumed_at=now)
        Agent.objects.filter(pk=agent.pk).update(over_plan_at=None)
        audit(team=team, actor=WATCHDOG, action="agent.within_plan", target=agent.name, of=agent)


def _marked_for_review(agents: Iterable[Agent], now: datetime) -> list[Agent]:
    loaded = list(agents)
    AgentState.objects.filter(agent__in=loaded).update(check_at=now)
    return loaded
