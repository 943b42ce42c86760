"""The event stream: what is written with each change, and the numbers that readers resume from.

Ids are no such numbers on PostgreSQL: a transaction may take a lower id and commit later, and a reader that has passed
it would lose it. So readers number what is committed, one reader at a time; a number is never given out again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection, transaction
from django.db.models import Max, Min

from agents.models import Agent, StreamEvent
from agents.storage import bulk

# How long a client may be away without losing anything.
KEPT: Final = timedelta(days=1)
# Events that get their numbers in one transaction.
PIECE: Final = 1_000
# Of the advisory lock that readers of PostgreSQL number under.
LOCK: Final = 7_305_021_118
_NUMBER_ON_POSTGRESQL: Final = """
    WITH waiting AS MATERIALIZED (
        SELECT id FROM agents_streamevent WHERE number IS NULL ORDER BY id LIMIT %s
    ), numbered AS MATERIALIZED (
        SELECT id, nextval(pg_get_serial_sequence('agents_streamevent', 'id')) AS number FROM waiting
    )
    UPDATE agents_streamevent e SET number = n.number FROM numbered n WHERE e.id = n.id
"""
# There is a single writer, so ids grow in the order of commits.
_NUMBER_ON_SQLITE: Final = """
    UPDATE agents_streamevent SET number = id
    WHERE id IN (SELECT id FROM agents_streamevent WHERE number IS NULL ORDER BY id LIMIT %s)
"""


def event(agent: Agent, kind: str, data: Mapping[str, Any], now: datetime) -> StreamEvent:
    """An event, not stored yet."""
    about = {"agent": {"id": agent.pk, "name": agent.name}, **data}
    return StreamEvent(project_id=agent.project_id, agent_id=agent.pk, type=kind, data=about, at=now)


def write(events: Sequence[StreamEvent]) -> None:
    """Call it in the transaction of the changes."""
    bulk.insert(events)


def number() -> None:
    """Number all that is committed. Readers call it before they read."""
    while StreamEvent.objects.filter(number__isnull=True).exists():
        _number_piece()


@transaction.atomic
def _number_piece() -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # Held until the commit, so numbers become visible in their order.
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
            cursor.execute(_NUMBER_ON_POSTGRESQL, [PIECE])
        else:
            cursor.execute(_NUMBER_ON_SQLITE, [PIECE])


def newest() -> int:
    """The last number; 0 without any."""
    return StreamEvent.objects.aggregate(n=Max("number"))["n"] or 0


def is_complete_after(last: int) -> bool:
    """Whether all events after this number are still stored."""
    ends = StreamEvent.objects.aggregate(low=Min("number"), high=Max("number"))
    return ends["low"] is not None and ends["low"] <= last <= ends["high"]


def after(last: int, most: int, project_id: int | None = None) -> list[StreamEvent]:
    """The next events in order, of one project or of all."""
    events = StreamEvent.objects.filter(number__gt=last).order_by("number")
    return list((events if project_id is None else events.filter(project=project_id))[:most])


def of_agents(events: Iterable[StreamEvent], agent_id: int | None) -> list[StreamEvent]:
    """Those of one agent; all, without an id."""
    return [each for each in events if agent_id is None or each.agent_id == agent_id]
