"""Ends the pauses that people limited: nobody has to remember to resume monitoring."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.db.models import F

from agents.fleet import maintenance, services
from agents.models import Agent
from teams.actors import WATCHDOG


def end_due(now: datetime) -> None:
    """Resume agents whose pause is over; safe with any number of workers."""
    for agent in Agent.objects.filter(paused_until__lte=now).select_related("project__team"):
        with transaction.atomic():
            _end(agent, now)


def _end(agent: Agent, now: datetime) -> None:
    if not agent.over_plan_at:
        services.resume(agent=agent, actor=WATCHDOG, now=now)
        maintenance.join_open(agent, now)
        return
    # From now on only the plan pauses it, and resumes it once there is room; see `quota.py`.
    due = Agent.objects.filter(pk=agent.pk, paused_until__lte=now)
    due.update(paused_at=F("over_plan_at"), paused_by="", paused_until=None)
