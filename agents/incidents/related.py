"""What else happened: other incidents of the team at the same time, and earlier ones like this. Reads, never writes."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.db.models import Case, Prefetch, Q, QuerySet, Value, When

from agents.models import Incident, IncidentEvent
from teams.actors import WATCHDOG

# What begins so shortly before or after has perhaps the same cause: a deadline is minutes, a deploy is, too.
TOGETHER: Final = timedelta(minutes=15)
SHOWN: Final = 6


def at_the_same_time(incident: Incident) -> QuerySet[Incident]:
    """The team's other incidents that began within a quarter of an hour, those of the same project first."""
    near = Q(started_at__range=(incident.started_at - TOGETHER, incident.started_at + TOGETHER))
    others = Incident.objects.filter(near, project__team=incident.project.team_id).exclude(pk=incident.pk)
    nearest = Case(When(project=incident.project_id, then=Value(0)), default=Value(1))
    return others.select_related("agent", "project").order_by(nearest, "started_at", "pk")[:SHOWN]


def earlier(incident: Incident) -> QuerySet[Incident]:
    """The agent's earlier incidents of the same kind, newest first, each with what people noted of it."""
    notes = IncidentEvent.objects.filter(kind=IncidentEvent.Kind.NOTE).exclude(actor=WATCHDOG)
    like_it = Incident.objects.filter(agent=incident.agent_id, kind=incident.kind, opened_at__lt=incident.opened_at)
    like_it = like_it.select_related("agent__state")
    return like_it.prefetch_related(Prefetch("events", notes, to_attr="notes")).order_by("-opened_at")[:SHOWN]
