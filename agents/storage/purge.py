"""Teams, projects and agents that people deleted are cleared away here, in pieces that each take a moment.

Their heartbeats may be millions, and on SQLite whoever deletes keeps everybody from writing. So each piece is a
transaction of its own, and what a run does not get to is left to the next.
"""

from __future__ import annotations

from time import monotonic
from typing import Any, Final

from django.db.models import QuerySet

from agents.models import Agent, Heartbeat
from teams.models import Project, Team

# Heartbeats of one agent and day, or its sums, in one statement.
PIECE: Final = 2_000
# Its incidents, each with its signals, its timeline and who was told.
FEW: Final = 100
# Seconds a run may take; well within a task's limit.
RUN: Final = 20.0


def clear_away(seconds: float = RUN) -> bool:
    """Delete what is left of teams that have ended, for about so many seconds. Whether nothing is left."""
    until = monotonic() + seconds
    for team in Team.objects.exclude(ended_at=None):
        for agent in Agent.objects.filter(project__team=team).order_by("pk"):
            while _a_piece_of(agent):
                if monotonic() >= until:
                    return False
            agent.delete()
            if monotonic() >= until:
                return False
        Project.objects.filter(team=team).delete()
        team.delete()
    return True


def _a_piece_of(agent: Agent) -> bool:
    """Delete some of what the agent has; whether there was any."""
    return _beats_of(agent) or _some(agent.rollups.order_by("pk"), PIECE) or _some(agent.incidents.order_by("pk"), FEW)


def _some(rows: QuerySet[Any], most: int) -> bool:
    ids = list(rows.values_list("pk", flat=True)[:most])
    rows.filter(pk__in=ids).delete()
    return bool(ids)


def _beats_of(agent: Agent) -> bool:
    """By day, which is how they lie on PostgreSQL."""
    oldest = Heartbeat.objects.filter(agent=agent).order_by("id").values_list("day", flat=True).first()
    if oldest is None:
        return False
    return _some(Heartbeat.objects.filter(agent=agent, day=oldest).order_by("id"), PIECE)
