"""Incidents worth comparing with: others of the team at the same time, and earlier ones of the same kind. Read only."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.db.models import Case, Prefetch, Q, QuerySet, Value, When

from agents.models import Incident, IncidentEvent
from teams.actors import WATCHDOG

# Deadlines and deploys take minutes, so incidents that start this close together may share a cause.
SAME_TIME: Final = timedelta(minutes=15)
MAX_SHOWN: Final = 6


def at_the_same_time(incident: Incident) -> QuerySet[Incident]:
    """The team's other incidents that started within `SAME_TIME`, those of the same project first."""
    near = Q(started_at__range=(incident.started_at - SAME_TIME, incident.started_at + SAME_TIME))
    others = Incident.objects.filter(near, project__team=incident.project.team_id).exclude(pk=incident.pk)
    same_project_first = Case(When(project=incident.project_id, then=Value(0)), default=Value(1))
    return others.select_related("agent", "project").order_by(same_project_first, "started_at", "pk")[:MAX_SHOWN]


def earlier(incident: Incident) -> QuerySet[Incident]:
    """The agent's earlier incidents of the same kind, newest first, each with people's notes as `notes`."""
    notes = IncidentEvent.objects.filter(kind=IncidentEvent.Kind.NOTE).exclude(actor=WATCHDOG)
    same_kind = Incident.objects.filter(agent=incident.agent_id, kind=incident.kind, opened_at__lt=incident.opened_at)
    same_kind = same_kind.select_related("agent__state")
    return same_kind.prefetch_related(Prefetch("events", notes, to_attr="notes")).order_by("-opened_at")[:MAX_SHOWN]
