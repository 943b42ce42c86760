"""Rollups of heartbeats by minute, hour and day."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.db import connection, transaction
from django.db.models import Aggregate, Count, Func, JSONField, Max, Min, Q, QuerySet, Sum
from django.db.models.functions import JSONArray, TruncDay, TruncHour, TruncMinute

from agents.domain import tool_counts
from agents.models import Agent, Heartbeat, Pulse, Rollup
from agents.storage import bulk, partitions
from agents.storage.retention import LET_OTHERS_WRITE, MINUTES_KEPT, OLDEST

ROLLUP: Final = "rollup"
# Heartbeats may be committed after their minute ended. Of the minutes since shortly before the last run, each run
# recalculates those with new heartbeats; when some have turned up that were made before, all minutes that are this old.
OVERLAP: Final = timedelta(seconds=30)
OPEN_FOR: Final = timedelta(minutes=10)
# Heartbeats this young count as new in the next run, too: others with lower ids may not be committed yet.
IN_FLIGHT: Final = timedelta(seconds=3)
# How often hours and days are added up: they have sixty times as much to read as the last minute.
COARSER_EVERY: Final = timedelta(minutes=5)
HOUR: Final = timedelta(hours=1)
WRITE_CHUNK: Final = 500
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
    """Update minutes, and every five minutes hours and days. Idempotent: spans that are still open are recalculated.

    A heartbeat belongs to the minute in which it was sent. If it arrived much later, for example from a client's spool,
    its agent's spans are recalculated from then on. The next run repeats whatever an interrupted run left.
    """
    partitions.make(now.date())
    # One transaction serializes concurrent runs. SQLite has a single writer: there heartbeats would wait for all of it.
    with transaction.atomic() if connection.features.has_select_for_update else nullcontext():
        _bring_up_to_date(now)


def _bring_up_to_date(now: datetime) -> None:
    pulse, _ = Pulse.objects.select_for_update().get_or_create(name=ROLLUP, defaults={"at": now - OLDEST})
    open_beats = Heartbeat.objects.filter(id__gt=pulse.read_to)
    settled = open_beats.filter(received_at__lt=now - IN_FLIGHT).aggregate(id=Max("id"))["id"]
    newest = max(settled or 0, pulse.seen_to)
    has_stragglers = open_beats.filter(id__lte=pulse.seen_to).count() != pulse.seen
    since = _minute(pulse.at - (OPEN_FOR if has_stragglers else OVERLAP))
    # Heartbeats of deleted projects may be left. `purge.py` deletes their agents concurrently, which would violate the
    # foreign key of their rollups and fail the whole run.
    beats = open_beats.filter(agent__in=Agent.objects.filter(project__team__ended_at=None).values("pk"))
    # Counted before anything is summed: a straggler that is committed meanwhile is found by the next run.
    read_to = _closed_to(beats, now) or pulse.read_to
    seen = Heartbeat.objects.filter(id__gt=read_to, id__lte=newest).count()
    new = Q(received_at__gte=since) if has_stragglers else Q(id__gt=pulse.seen_to)
    _add_late(beats.filter(new, spent_at__lt=since), since, now)
    known = 0 if has_stragglers else pulse.seen_to
    _write(Rollup.Span.MINUTE, _sums(beats.filter(spent_at__gte=since), TruncMinute, newer_than=known))
    if has_stragglers or _slot(pulse.at) != _slot(now):
        _add_up(since=min(since, _slot(pulse.at) - COARSER_EVERY))
    pulse.at, pulse.read_to, pulse.seen_to, pulse.seen = now, read_to, newest, seen
    pulse.save()


def _add_late(late: QuerySet[Heartbeat], since: datetime, now: datetime) -> None:
    """New heartbeats that were made before the minutes that each run recalculates, such as a client's spool."""
    first = late.aggregate(first=Min("spent_at"))["first"]
    if first is not None:
        sum_up(late.values_list("agent_id", flat=True).distinct(), first, since, now)


def _slot(at: datetime) -> datetime:
    return at - (at - datetime.min.replace(tzinfo=UTC)) % COARSER_EVERY


def _add_up(since: datetime) -> None:
    """Minutes to hours, and hours to days."""
    every = Rollup.objects.filter(agent__project__team__ended_at=None)
    _write(Rollup.Span.HOUR, _coarser(every.filter(span=Rollup.Span.MINUTE, start__gte=_hour(since)), TruncHour))
    _write(Rollup.Span.DAY, _coarser(every.filter(span=Rollup.Span.HOUR, start__gte=_day(since)), TruncDay))


def sum_up(agent_ids: Iterable[int], since: datetime, until: datetime, now: datetime) -> None:
    """Recalculate what these agents sent from `since` to `until` from the stored heartbeats."""
    ids = list(agent_ids)
    beats = Heartbeat.objects.filter(agent_id__in=ids, day__gte=since.astimezone(UTC).date())
    minutes = max(_minute(since), _hour(now - MINUTES_KEPT))
    recent = beats.filter(spent_at__gte=minutes, spent_at__lt=_minute(until))
    _write(Rollup.Span.MINUTE, _sums(recent, TruncMinute))
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
    """The last heartbeat's id before all those of minutes that are still open."""
    still_open = (now - OPEN_FOR).replace(second=0, microsecond=0)
    first = beats.filter(received_at__gte=still_open).aggregate(id=Min("id"))["id"]
    # Not simply the id before: that heartbeat may not be committed yet.
    closed = beats if first is None else beats.filter(id__lt=first)
    last: int | None = closed.aggregate(id=Max("id"))["id"]
    return last


def _sums(beats: QuerySet[Heartbeat], truncate: Any, *, newer_than: int = 0) -> Iterable[dict[str, Any]]:
    """One row per agent and span, of those with heartbeats beyond this id."""
    sums = (
        beats.annotate(start=truncate("spent_at"))
        .values("agent_id", "start")
        .annotate(
            newest=Max("id"),
            of_beats=Count("id"),
            of_errors=Count("id", filter=Q(status="error")),
            of_progress=Count("id", filter=Q(progress=True)),
            **{f"of_{name}": Sum(name) for name in _NUMBERS},
            **{f"of_{name}": Max(name) for name in _MAXIMA},
            # Contents may be large, so those without calls are not decoded.
            logs=Gathered(JSONArray("tool_calls", Names("content")), filter=Q(tool_calls__gt=0)),
        )
        .filter(newest__gt=newer_than)
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
    rollups = [{"span": span, **row} for row in rows]
    for first in range(0, len(rollups), WRITE_CHUNK):
        if first and not connection.features.has_select_for_update:
            time.sleep(LET_OTHERS_WRITE)
        bulk.upsert(Rollup, ("agent_id", "span", "start"), rollups[first : first + WRITE_CHUNK])
