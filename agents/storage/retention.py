"""Deletes what is older than the teams' plans keep: heartbeats, roll-ups, incidents with all that belongs to them,
restarts, and the audit log.

In pieces, each a transaction of its own, so nobody waits for long; what one run does not finish is left to the next.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any, Final

from django.db import connection
from django.db.models import Max, Min, QuerySet

from agents.models import Agent, Command, Heartbeat, Incident, Outage, OutsideEvent, Rollup, StreamEvent
from agents.storage import event_stream, partitions
from billing import limits, plans
from teams import audit_retention
from teams.models import AuditEntry

OLDEST: Final = timedelta(days=max(plan.history_days for plan in plans.ALL))
MINUTES_KEPT: Final = timedelta(days=2)
# Seconds per run, well within the task's time limit.
RUN: Final = 20.0
# Rows per statement, and incidents, each with its signals, timeline and notifications.
PIECE: Final = 2_000
FEW: Final = 50
# Agents per look for old rows.
AGENTS: Final = 500
# Writers waiting on SQLite retry at this interval, in seconds; without a pause they would find it locked every time.
LET_OTHERS_WRITE: Final = 0.11
# Deletes one piece. Returns whether there was any.
Delete = Callable[[], bool]


def forget_old(now: datetime, seconds: float = RUN) -> bool:
    """Delete what no plan keeps, for about `seconds`. Returns whether nothing is left."""
    partitions.drop((now - OLDEST).date())
    until = time.monotonic() + seconds
    for delete in _deletions(now):
        while delete():
            if time.monotonic() >= until:
                return False
            _let_others_write()
    return True


def _let_others_write() -> None:
    if not connection.features.has_select_for_update:
        time.sleep(LET_OTHERS_WRITE)


def _deletions(now: datetime) -> Iterator[Delete]:
    minutes = Rollup.objects.filter(span=Rollup.Span.MINUTE, start__lt=now - MINUTES_KEPT)
    yield partial(_delete_some, minutes, PIECE)
    yield partial(_delete_some, StreamEvent.objects.filter(at__lt=now - event_stream.KEPT), PIECE)
    yield partial(_delete_some, Outage.objects.filter(ended_at__lt=now - OLDEST), PIECE)
    for plan in plans.ALL:
        yield from _deletions_by_plan(plan, now - timedelta(days=plan.history_days))


def _deletions_by_plan(plan: plans.Plan, before: datetime) -> Iterator[Delete]:
    teams = limits.teams_on(plan)
    yield partial(audit_retention.delete_some, AuditEntry.objects.filter(team__in=teams, at__lt=before), PIECE)
    # Incidents bring their signals, events and deliveries with them.
    ended = Incident.objects.filter(project__team__in=teams, resolved_at__lt=before)
    yield partial(_delete_some, ended, FEW)
    finished = Command.objects.filter(agent__project__team__in=teams, finished_at__lt=before)
    yield partial(_delete_some, finished, PIECE)
    # An alert that nobody ended is over, too: Alertmanager repeats those that still fire.
    told = OutsideEvent.objects.filter(project__team__in=teams, began_at__lt=before)
    yield partial(_delete_some, told, PIECE)
    yield from _deletions_by_agents(Agent.objects.filter(project__team__in=teams), before)


def _deletions_by_agents(agents: QuerySet[Agent], before: datetime) -> Iterator[Delete]:
    """An agent's rows are found by indexes that begin with the agent, so many agents are asked about at once."""
    first = _first_id_on(before.date())
    everyone = list(agents.order_by("pk").values_list("pk", flat=True))
    for ids in (everyone[at : at + AGENTS] for at in range(0, len(everyone), AGENTS)):
        rollups = Rollup.objects.filter(agent_id__in=ids, span__in=Rollup.Span.values, start__lt=before)
        yield partial(_delete_some, rollups, PIECE)
        yield partial(_delete_heartbeats, Heartbeat.objects.filter(agent_id__in=ids, id__lt=first), before.date())


def _delete_some(rows: QuerySet[Any], most: int) -> bool:
    found = list(rows.order_by().values_list("pk", flat=True)[:most])
    rows.model._default_manager.filter(pk__in=found).delete()
    return bool(found)


def _delete_heartbeats(beats: QuerySet[Heartbeat], before: date) -> bool:
    """Day by day, because PostgreSQL partitions them by day."""
    by_day: dict[date, list[int]] = defaultdict(list)
    for pk, day in beats.filter(day__lt=before).order_by().values_list("pk", "day")[:PIECE]:
        by_day[day].append(pk)
    for day, pks in by_day.items():
        Heartbeat.objects.filter(day=day, pk__in=pks).delete()
    return bool(by_day)


def _first_id_on(day: date) -> int:
    """From which id on heartbeats were stored on this day or later. Ids and days grow together, and no index has the
    day, so it is sought between the first and the last id."""
    ends = Heartbeat.objects.aggregate(low=Min("id"), high=Max("id"))
    low, high = ends["low"] or 0, (ends["high"] or 0) + 1
    while low < high:
        middle = (low + high) // 2
        stored_on = Heartbeat.objects.filter(id__gte=middle).order_by("id").values_list("day", flat=True).first()
        if stored_on is not None and stored_on < day:
            low = middle + 1
        else:
            high = middle
    return low
