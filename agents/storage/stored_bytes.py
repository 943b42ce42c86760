"""How many bytes of texts, calls and custom data each team's heartbeats stored today.

Counted each minute from the stored rows, for all processes; a heartbeat's request asks nothing. Beyond the plan's day,
heartbeats are still accepted and counted, but stored without details until midnight UTC (`Team.details_off_until`).
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Final

from django.db import connection, transaction

from billing.limits import plan_of
from teams import rate_limits
from teams.actors import WATCHDOG
from teams.models import RateCount, Team
from teams.rate_limits import RateLimit
from teams.services import audit

# Up to which heartbeat all are counted, as `used` of a count that never ends.
CURSOR: Final = "stored_bytes_until"
NEVER: Final = datetime(9999, 1, 1, tzinfo=UTC)
_SIZE: Final = {"postgresql": "pg_column_size(h.content)", "sqlite": "length(CAST(h.content AS BLOB))"}


def count(now: datetime) -> None:
    """Count what was stored since the last time, and stop storing details of teams that are beyond their day."""
    with transaction.atomic():
        for team_id, size in _new_bytes(now).items():
            plan = plan_of(team_id)
            limit = RateLimit("stored_bytes", plan.bytes_per_day, rate_limits.DAY, "stored bytes")
            if rate_limits.take(limit, team_id, now, size) < size:
                _stop_storing(team_id, now)


def _new_bytes(now: datetime) -> dict[int, int]:
    """By team. The first time, nothing: what was stored before is not counted."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT COALESCE(MAX(id), 0) FROM agents_heartbeat WHERE day >= %s", [_yesterday(now)])
        newest: int = cursor.fetchone()[0]
        since, _ = RateCount.objects.select_for_update().get_or_create(
            key=CURSOR, defaults={"used": newest, "ends_at": NEVER}
        )
        cursor.execute(_SQL.format(size=_SIZE[connection.vendor]), [_yesterday(now), since.used, newest])
        found = {team_id: int(size or 0) for team_id, size in cursor.fetchall()}
    RateCount.objects.filter(key=CURSOR).update(used=max(newest, since.used))
    return {team_id: size for team_id, size in found.items() if size}


_SQL: Final = """
    SELECT p.team_id, SUM({size}) FROM agents_heartbeat h
    JOIN agents_agent a ON a.id = h.agent_id JOIN teams_project p ON p.id = a.project_id
    WHERE h.day >= %s AND h.id > %s AND h.id <= %s GROUP BY p.team_id
"""


def _yesterday(now: datetime) -> str:
    return (now - timedelta(days=1)).date().isoformat()


def _stop_storing(team_id: int, now: datetime) -> None:
    midnight = datetime.combine(now.astimezone(UTC).date() + timedelta(days=1), time(), UTC)
    if Team.objects.filter(pk=team_id).exclude(details_off_until=midnight).update(details_off_until=midnight):
        team = Team.objects.get(pk=team_id)
        data = {"until": midnight.isoformat()}
        audit(team=team, actor=WATCHDOG, action="plan.storage_full", target=team.name, of=team, data=data)
