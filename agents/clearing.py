"""Teams and projects that people deleted are cleared away here, in pieces that each take a moment.

Their heartbeats may be millions, and on SQLite whoever deletes keeps everybody from writing. So each piece is a
transaction of its own, and what a run does not get to is left to the next.
"""

from __future__ import annotations

from time import monotonic
from typing import Final

from agents.models import Agent, Heartbeat
from teams.models import Project, Team

# Of one agent and day, in one statement.
PIECE: Final = 2_000
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
    """Delete some heartbeats of the agent; whether there were any. By day, which is how they lie on PostgreSQL."""
    oldest = Heartbeat.objects.filter(agent=agent).order_by("id").values_list("day", flat=True).first()
    if oldest is None:
        return False
    of_day = Heartbeat.objects.filter(agent=agent, day=oldest)
    ids = list(of_day.order_by("id").values_list("pk", flat=True)[:PIECE])
    of_day.filter(pk__in=ids).delete()
    return True
