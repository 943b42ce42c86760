"""Deletes the data of deleted teams, projects and agents in small pieces.

There may be millions of heartbeats, and on SQLite a delete blocks all writers. So each piece is a transaction of its
own, and what one run does not finish is left to the next.
"""

from __future__ import annotations

from time import monotonic
from typing import Any, Final

from django.db.models import QuerySet

from agents.models import Agent, Heartbeat, OutsideEvent
from teams.models import Project, Team

# Rows per statement: heartbeats of one agent and day, or its rollups.
PIECE: Final = 2_000
# Incidents per statement, each with its signals, timeline and notifications.
FEW: Final = 100
# Seconds per run, well within the task's time limit.
RUN: Final = 20.0


def clear_away(seconds: float = RUN) -> bool:
    """Delete what is left of ended teams, for about `seconds`. Returns whether nothing is left."""
    until = monotonic() + seconds
    for team in Team.objects.exclude(ended_at=None):
        for agent in Agent.objects.filter(project__team=team).order_by("pk"):
            while _delete_piece(agent):
                if monotonic() >= until:
                    return False
            agent.delete()
            if monotonic() >= until:
                return False
        while _delete_first(OutsideEvent.objects.filter(project__team=team).order_by("pk"), PIECE):
            if monotonic() >= until:
                return False
        Project.objects.filter(team=team).delete()
        team.delete()
    return True


def _delete_piece(agent: Agent) -> bool:
    """Delete some of the agent's data. Returns whether there was any."""
    return (
        _delete_heartbeats(agent)
        or _delete_first(agent.rollups.order_by("pk"), PIECE)
        or _delete_first(agent.incidents.order_by("pk"), FEW)
    )


def _delete_first(rows: QuerySet[Any], most: int) -> bool:
    ids = list(rows.values_list("pk", flat=True)[:most])
    rows.filter(pk__in=ids).delete()
    return bool(ids)


def _delete_heartbeats(agent: Agent) -> bool:
    """Day by day, because PostgreSQL partitions them by day."""
    oldest = Heartbeat.objects.filter(agent=agent).order_by("id").values_list("day", flat=True).first()
    if oldest is None:
        return False
    return _delete_first(Heartbeat.objects.filter(agent=agent, day=oldest).order_by("id"), PIECE)
