"""The SQL of reviews that only time asks for: agents that are due, and whose rules have nothing to add to that."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from typing import Final

import msgspec
from django.db import connection

from agents.storage.columns import CONCLUDED
from agents.storage.hot_rows import KEY, TABLE
from agents.storage.json_rows import POSTGRESQL, as_time, aware, update_rows

# What the clocks of an agent depend on: columns of the hot row, the agent and the project, in the order of `CalmRow`.
_CLOCKS: Final = (
    "s.agent_id",
    "s.beats",
    "s.last_beat_at",
    "s.last_progress_at",
    "s.usual_gap",
    "s.learned_progress_timeout",
    "s.quiet_until",
    "s.declared_interval",
    "s.declared_progress_timeout",
    "s.waiting_until",
    "s.reviewed_at",
    "a.interval",
    "a.grace",
    "a.progress_timeout",
    "a.resumed_at",
    "p.default_grace",
)

# How far back a review reads heartbeats: agents that were not reviewed for a day are rare.
READ_BACK: Final = timedelta(days=1)
# The first heartbeat not read yet that says more than that the agent exists. Its LIMIT keeps PostgreSQL from joining
# all heartbeats of two days.
_TELLING: Final = """
    SELECT h.id FROM agents_heartbeat h
    WHERE h.agent_id = s.agent_id AND h.id > m.read_to AND h.day >= %s AND (
        h.progress OR h.status <> 'ok' OR h.tokens > 0 OR h.cost > 0 OR h.tool_calls > 0
        OR h.memory_mb IS NOT NULL OR h.content IS NOT NULL
    )
    LIMIT 1
"""


class CalmRow(msgspec.Struct):
    """What the clocks of an agent depend on that only time concerns."""

    agent_id: int
    beats: int
    last_beat_at: datetime | None
    last_progress_at: datetime | None
    usual_gap: float | None
    learned_progress_timeout: float | None
    quiet_until: datetime | None
    declared_interval: float | None
    declared_progress_timeout: float | None
    waiting_until: datetime | None
    reviewed_at: datetime
    interval: float | None
    grace: float | None
    progress_timeout: float | None
    resumed_at: datetime | None
    default_grace: float | None


def lock_calm(now: datetime, *, reviewed_after: datetime, most: int, skip: int) -> list[CalmRow]:
    """Lock agents that are due only because their planned time has come, first ones first, without waiting.

    Left out are those that somebody wants to be reviewed, those whose last review is too long ago, and those with
    heartbeats that tell rules something and that nothing but their time brings to a review. Agents in `Unread` are
    taken: they are reviewed in any case, and while reviews are behind, silent agents need not wait for theirs. `skip`
    so many that were left where they were.
    """
    since = now.date() - READ_BACK
    with connection.cursor() as cursor:
        values = [as_time(now), as_time(reviewed_after), as_time(now), since.isoformat(), most, skip]
        cursor.execute(_calm_sql(connection.vendor), values)
        return [CalmRow(*map(aware, row)) for row in cursor.fetchall()]


@cache
def _calm_sql(vendor: str) -> str:
    return f"""
        SELECT {", ".join(_CLOCKS)}
        FROM agents_agentstate s
        JOIN agents_agent a ON a.id = s.agent_id
        JOIN teams_project p ON p.id = a.project_id
        JOIN agents_agentmemory m ON m.agent_id = s.agent_id
        WHERE s.check_at <= %s AND s.planned_at = s.check_at
            AND a.kind = 'agent' -- a job's next deadline depends on its schedule
            AND s.reviewed_at > %s AND s.reviewed_at <= %s
            AND (EXISTS (SELECT 1 FROM agents_unread u WHERE u.agent_id = s.agent_id) OR ({_TELLING}) IS NULL)
        ORDER BY s.check_at LIMIT %s OFFSET %s {"FOR UPDATE OF s SKIP LOCKED" if vendor == POSTGRESQL else ""}
    """


def move(times: dict[int, datetime]) -> None:
    """Write when agents are reviewed next, as planned."""
    rows = [{"agent_id": pk, "check_at": at, "planned_at": at} for pk, at in times.items()]
    update_rows(TABLE, KEY, {name: CONCLUDED[name] for name in ("check_at", "planned_at")}, rows)
