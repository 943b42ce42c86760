"""The plan's shortest interval, a lower bound for declared and configured intervals and so for all deadlines.

Agents may report more often; their silence is just judged by the plan's interval.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from agents.domain.heartbeat import Beat
from agents.models import Agent, AgentState
from billing.limits import plan_of
from billing.plans import Plan
from teams.actors import WATCHDOG
from teams.models import Team
from teams.services import audit


def bound(beats: Iterable[Beat], plan: Plan) -> None:
    """Raise shorter intervals that clients declare to the plan's shortest."""
    for beat in beats:
        if beat.interval is not None:
            beat.interval = max(beat.interval, plan.shortest_interval)


def lengthen(team_id: int, now: datetime) -> None:
    """After a plan change, raise intervals that were declared or set before. Call it in the same transaction."""
    plan = plan_of(team_id)
    states = AgentState.objects.filter(agent__project__team=team_id, declared_interval__lt=plan.shortest_interval)
    states.update(declared_interval=plan.shortest_interval)
    for agent in Agent.objects.filter(project__team=team_id, interval__lt=plan.shortest_interval):
        data = {"interval": {"from": agent.interval, "to": plan.shortest_interval, "plan": plan.label}}
        Agent.objects.filter(pk=agent.pk).update(interval=plan.shortest_interval)
        audit(team=Team(pk=team_id), actor=WATCHDOG, action="agent.changed", target=agent.name, data=data)
