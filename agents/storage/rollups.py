"""Rollups of heartbeats by minute, hour and day; heartbeat partitions; retention."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import nullcontext
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from django.db import connection, transaction
from django.db.models import Aggregate, Count, F, Func, JSONField, Max, Min, Q, QuerySet, Sum
from django.db.models.functions import JSONArray, TruncDay, TruncHour, TruncMinute

from agents.domain import tool_counts
from agents.models import Agent, Heartbeat, Pulse, Rollup
from billing import limits, plans
from teams.models import Team

ROLLUP: Final = "rollup"
# Heartbeats may be committed after their minute ended; for this long each minute is recalculated.
OPEN_FOR: Final = timedelta(minutes=10)
OLDEST: Final = timedelta(days=max(plan.history_days for plan in plans.ALL))
MINUTES_KEPT: Final = timedelta(days=2)
DAYS_AHEAD: Final = 7
# A heartbeat sent this long before it was received may belong to a minute that is closed already.
LATE: Final = timedelta(minutes=5)
HOUR: Final = timedelta(hours=1)
WRITE_CHUNK: Final = 500
# Writers waiting on SQLite retry at this interval, in seconds; without a pause they would find it locked every time.
LET_OTHERS_WRITE: Final = 0.11
_NUMBERS: Final = ("tokens", "cost", "priced", "unpriced", "tool_calls")
_SUMS: Final = ("beats", "errors", "progress", *_NUMBERS)
_MAXIMA: Final = ("memory_mb", "gap")


class Names(Func):
    """The tool names in a heartbeat's call log, oldest first, as a JSON list."""

    output_field = JSONField()

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(
            compiler, connection, template="jsonb_path_query_array(%(expressions)s, '$.calls[*].name')", **extra
        )

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        names = "SELECT json_group_array(value ->> 'name') FROM json_each(%(expressions)s, '$.calls')"
        return self.as_sql(compiler, connection, template=f"json(({names}))", **extra)


class Gathered(Aggregate):
    """All values of a JSON column as one list; None or empty if there are none."""

    output_field = JSONField()
    template = "%(function)s(%(read)s(%(expressions)s))"

    def as_postgresql(self, *given: Any, **extra: Any) -> Any:
        return self.as_sql(*given, function="jsonb_agg", read="", **extra)

    def as_sqlite(self, *given: Any, **extra: Any) -> Any:
        return self.as_sql(*given, function="json_group_array", read="json", **extra)


def roll_up(now: datetime) -> None:
    """Update minutes, hours and days. Idempotent: all spans that are still open are recalculated.

    A heartbeat belongs to the minute in which it was sent. If it arrived much later, for example from a client's spool,
    its agent's spans are recalculated from then on. The next run repeats whatever an interrupted run left.
    """
    make_partitions(now.date())
    # One transaction serializes concurrent runs. SQLite has a single writer: there heartbeats would wait for all of it.
    with transaction.atomic() if connection.features.has_select_for_update else nullcontext():
        _bring_up_to_date(now)


def _bring_up_to_date(now: datetime) -> None:
    pulse, _ = Pulse.objects.select_for_update().get_or_create(name=ROLLUP, defaults={"at": now - OLDEST})
    since = _minute(pulse.at - OPEN_FOR)
    # Heartbeats of deleted projects may be left. `purge.py` deletes their agents concurrently, which would violate the
    # foreign key of their rollups and fail the whole run.
    lasting = Agent.objects.filter(project__team__ended_at=None)
    beats = Heartbeat.objects.filter(id__gt=pulse.read_to, agent__in=lasting.values("pk"))
    late = beats.filter(spent_at__lt=since).filter(spent_at__lt=F("received_at") - LATE)
    first = late.aggregate(first=Min("spent_at"))["first"]
    if first is not None:
        sum_up(late.values_list("agent_id", flat=True).distinct(), first, since, now)
    _write(Rollup.Span.MINUTE, _sums(beats.filter(spent_at__gte=since), TruncMinute))
    every = Rollup.objects.filter(agent__project__team__ended_at=None)
    _write(Rollup.Span.HOUR, _coarser(every.filter(span=Rollup.Span.MINUTE, start__gte=_hour(since)), TruncHour))
    _write(Rollup.Span.DAY, _coarser(every.filter(span=Rollup.Span.HOUR, start__gte=_day(since)), TruncDay))
    pulse.at, pulse.read_to = now, _closed_to(beats, now) or pulse.read_to
    pulse.save()


def sum_up(agent_ids: Iterable[int], since: datetime, until: datetime, now: datetime) -> None:
    """Recalculate what these agents sent from `since` to `until` from the stored heartbeats."""
    ids = list(agent_ids)
    beats = Heartbeat.objects.filter(agent_id__in=ids, day__gte=since.astimezone(UTC).date())
    minutes = max(_minute(since), _hour(now - MINUTES_KEPT))
    _write(Rollup.Span.MINUTE, _sums(beats.filter(spent_at__gte=minutes, spent_at__lt=_minute(until)), TruncMinute))
    hours = beats.filter(spent_at__gte=_hour(since), spent_at__lt=_hour(until) + HOUR)
    _write(Rollup.Span.HOUR, _sums(hours, TruncHour))
    days = Rollup.objects.filter(agent_id__in=ids, span=Rollup.Span.HOUR, start__gte=_day(since))
    _write(Rollup.Span.DAY, _coarser(days, TruncDay))


def _minute(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(second=0, microsecond=0)


def _hour(at: datetime) -> datetime:
    return _minute(at).replace(minute=0)


def _day(at: datetime) -> datetime:
    return _hour(at).replace(hour=0)


def _closed_to(beats: QuerySet[Heartbeat], now: datetime) -> int | None:
    """The last id before all heartbeats of minutes that are still open."""
    still_open = (now - OPEN_FOR).replace(second=0, microsecond=0)
    ids = beats.aggregate(open=Min("id", filter=Q(received_at__gte=still_open)), last=Max("id"))
    last: int | None = ids["open"] - 1 if ids["open"] else ids["last"]
    return last


def _sums(beats: QuerySet[Heartbeat], truncate: Any) -> Iterable[dict[str, Any]]:
    sums = (
        beats.annotate(start=truncate("spent_at"))
        .values("agent_id", "start")
        .annotate(
            of_beats=Count("id"),
            of_errors=Count("id", filter=Q(status="error")),
            of_progress=Count("id", filter=Q(progress=True)),
            **{f"of_{name}": Sum(name) for name in _NUMBERS},
            **{f"of_{name}": Max(name) for name in _MAXIMA},
            # Contents may be large, so those without calls are not decoded.
            logs=Gathered(JSONArray("tool_calls", Names("content")), filter=Q(tool_calls__gt=0)),
        )
        .order_by("agent_id", "start")
    )
    rows: Iterable[dict[str, Any]] = map(dict, sums)
    for row in rows:
        yield {**_numbers(row), "start": row["start"], "tools": tool_counts.counted(row["logs"] or ())}


def _coarser(finer: QuerySet[Rollup], truncate: Any) -> Iterable[dict[str, Any]]:
    sums = (
        finer.annotate(begin=truncate("start"))
        .values("agent_id", "begin")
        .annotate(
            **{f"of_{name}": Sum(name) for name in _SUMS},
            **{f"of_{name}": Max(name) for name in _MAXIMA},
            known=Gathered("tools", filter=Q(tools__isnull=False)),
        )
        .order_by("agent_id", "begin")
    )
    rows: Iterable[dict[str, Any]] = map(dict, sums)
    for row in rows:
        known = row["known"]
        yield {**_numbers(row), "start": row["begin"], "tools": tool_counts.added(known) if known else None}


def _numbers(row: dict[str, Any]) -> dict[str, Any]:
    return {"agent_id": row["agent_id"], **{name: row[f"of_{name}"] for name in (*_SUMS, *_MAXIMA)}}


def _write(span: str, rows: Iterable[dict[str, Any]]) -> None:
    """Reads everything before it writes, in chunks."""
    rollups = [Rollup(span=span, **row) for row in rows]
    for first in range(0, len(rollups), WRITE_CHUNK):
        if first and not connection.features.has_select_for_update:
            time.sleep(LET_OTHERS_WRITE)
        Rollup.objects.bulk_create(
            rollups[first : first + WRITE_CHUNK],
            update_conflicts=True,
            unique_fields=["agent", "span", "start"],
            update_fields=[*_SUMS, *_MAXIMA, "tools"],
        )


def make_partitions(today: date) -> None:
    """PostgreSQL: create partitions for today and the coming days, except days with rows in the default partition."""
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relname LIKE 'agents_heartbeat_2%%' AND relkind = 'r'")
        existing = {name for (name,) in cursor.fetchall()}
        for day in (today + timedelta(days=ahead) for ahead in range(DAYS_AHEAD)):
            name = f"agents_heartbeat_{day:%Y_%m_%d}"
            if name not in existing and not _is_in_default(cursor, day):
                cursor.execute(
                    f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF agents_heartbeat "
                    f"FOR VALUES FROM ('{day}') TO ('{day + timedelta(days=1)}')"
                )


def _is_in_default(cursor: Any, day: date) -> bool:
    cursor.execute("SELECT EXISTS (SELECT 1 FROM agents_heartbeat_default WHERE day = %s)", [day])
    return bool(cursor.fetchone()[0])


def forget_old(now: datetime) -> None:
    """Delete what is older than the plans' retention; on PostgreSQL, drop the partitions that no plan keeps."""
    drop_partitions((now - OLDEST).date())
    for team in Team.objects.all():
        kept_from = now - limits.kept(team.pk)
        agents = list(Agent.objects.filter(project__team=team).values_list("pk", flat=True))
        Heartbeat.objects.filter(agent_id__in=agents, day__lt=kept_from.date()).delete()
        Rollup.objects.filter(agent_id__in=agents, start__lt=kept_from).delete()
    Rollup.objects.filter(span=Rollup.Span.MINUTE, start__lt=now - MINUTES_KEPT).delete()


def drop_partitions(before: date) -> None:
    """PostgreSQL: drop the partitions before this day."""
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT relname FROM pg_class WHERE relname LIKE 'agents_heartbeat_2%%' AND relkind = 'r'")
        for (name,) in cursor.fetchall():
            if name < f"agents_heartbeat_{before:%Y_%m_%d}":
                cursor.execute(f"DROP TABLE {name}")
