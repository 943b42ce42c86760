"""How the installation is, in figures: health, load, what waits to be sent, storage.

Numbers over all teams, so only for the operator. Each is one query over rows that are few, or over roll-ups.
"""

from __future__ import annotations

import platform
import shutil
import tomllib
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Final

import django
from django.conf import settings
from django.db import connection
from django.db.models import Count, Max, Min, Sum
from django.utils import timezone

from agents.models import Agent, AgentState, Heartbeat, Incident, Pulse, Rollup
from agents.reporting import formatting
from agents.storage import outage_log, rollups
from alerts.models import Delivery
from teams import times
from teams.models import Project, Team, User
from watchdog_project import health

LATE, BAD = "late", "bad"
# From which figure on something is late, and bad. The detector looks each second and the relay every two, sums are
# brought up to date each minute; durations are seconds, the disk is percent.
BEHIND: Final = (5.0, 30.0)
QUEUED: Final = (60, 600)
UNSENT: Final = (60.0, 600.0)
UNSUMMED: Final = (180.0, 900.0)
FULL: Final = (80, 90)
RECENT: Final = timedelta(days=1)
QUEUES: Final = (("celery", "Tasks waiting"), ("alerts", "Alerts' tasks waiting"))
WORKERS: Final = "start the worker, or another one"
PARTS: Final = (("database", "see its log"), ("broker", "start it"), ("detector", "start the worker and the scheduler"))


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the page. `level` is empty, `late` or `bad`; `advice` is what to do then."""

    label: str
    text: str
    level: str = ""
    advice: str = ""


def _graded(label: str, text: str, value: float, bounds: tuple[float, float], advice: str) -> Fact:
    level = BAD if value >= bounds[1] else LATE if value >= bounds[0] else ""
    return Fact(label, text, level, advice if level else "")


def groups(now: datetime) -> list[tuple[str, list[Fact]]]:
    """All facts, under their headings."""
    pulses = dict(Pulse.objects.values_list("name", "at"))
    return [
        ("Health", [*_parts(), *_detector(now), *_queues(), *_processes(pulses, now)]),
        ("Load", [*_load(pulses.get(rollups.ROLLUP), now), _open()]),
        ("Alerts", _alerts(now)),
        ("Storage", _storage()),
        ("Who", _who()),
    ]


def _parts() -> list[Fact]:
    said = health.parts()
    return [Fact(name.capitalize(), said[name], "" if said[name] == "ok" else BAD, to_do) for name, to_do in PARTS]


def _detector(now: datetime) -> list[Fact]:
    overdue = AgentState.objects.filter(check_at__lt=now).aggregate(n=Count("pk"), first=Min("check_at"))
    lag = (now - overdue["first"]).total_seconds() if overdue["first"] else 0.0
    return [
        _graded("Detector behind by", times.duration(lag), lag, BEHIND, WORKERS),
        Fact("Agents due for a look", formatting.count(overdue["n"])),
    ]


def _queues() -> list[Fact]:
    depths = health.queued([name for name, _ in QUEUES])
    if depths is None:
        return []
    return [_graded(label, formatting.count(depths[name]), depths[name], QUEUED, WORKERS) for name, label in QUEUES]


def _processes(at: dict[str, datetime], now: datetime) -> list[Fact]:
    rows = (
        ("Web, last sign of life", outage_log.EDGE, "start the web process"),
        ("Sums as of", rollups.ROLLUP, WORKERS),
    )
    return [
        _graded(label, times.ago(at[name], now), (now - at[name]).total_seconds(), UNSUMMED, advice)
        for label, name, advice in rows
        if name in at
    ]


def _load(summed: datetime | None, now: datetime) -> list[Fact]:
    """Who reports now is known from the hot rows; heartbeats are counted in the last whole minute that is summed up."""
    heard = AgentState.objects.filter(last_beat_at__gt=now - timedelta(minutes=1)).count()
    facts = [Fact("Agents heard in the last minute", formatting.count(heard))]
    if summed is None:
        return facts
    until = summed.replace(second=0, microsecond=0)
    begin, hour = until - timedelta(minutes=1), until - timedelta(hours=1)
    clock = timezone.localtime(begin)
    return [
        *facts,
        Fact("Heartbeats a minute", f"{formatting.count(_beats(begin, until))}, at {clock:%H:%M}"),
        Fact("Heartbeats in the hour before", formatting.count(_beats(hour, until))),
    ]


def _beats(since: datetime, until: datetime) -> int:
    found = Rollup.objects.filter(span=Rollup.Span.MINUTE, start__gte=since, start__lt=until)
    return found.aggregate(n=Sum("beats"))["n"] or 0


def _open() -> Fact:
    return Fact("Open incidents", formatting.count(Incident.objects.open().count()))


def _alerts(now: datetime) -> list[Fact]:
    waiting = Delivery.objects.pending().aggregate(n=Count("pk"), first=Min("created_at"))
    failed = Delivery.objects.filter(state=Delivery.State.FAILED, created_at__gt=now - RECENT).count()
    sent = Delivery.objects.filter(state=Delivery.State.SENT, sent_at__gt=now - RECENT).count()
    age = (now - waiting["first"]).total_seconds() if waiting["first"] else 0.0
    oldest = times.duration(age) if waiting["first"] else "–"
    return [
        Fact("Waiting to be sent", formatting.count(waiting["n"])),
        _graded("Oldest of them", oldest, age, UNSENT, "its channel may be down: see Deliveries"),
        Fact("Sent in 24 hours", formatting.count(sent)),
        _graded("Failed in 24 hours", formatting.count(failed), failed, (1, 100), "see the channels below"),
    ]


def _storage() -> list[Fact]:
    disk = shutil.disk_usage(settings.DATA_DIR)
    used = round(100 * (1 - disk.free / disk.total))
    return [
        Fact("Database", f"{megabytes(database_bytes())}, {connection.vendor}"),
        Fact("Heartbeats kept, about", formatting.count(heartbeats_kept())),
        _graded("Disk of the data folder", f"{used} % full, {megabytes(disk.free)} free", used, FULL, "free some room"),
    ]


def _who() -> list[Fact]:
    rows = (("Teams", Team), ("People", User), ("Projects", Project), ("Agents", Agent))
    counts = [Fact(label, formatting.count(model._default_manager.count())) for label, model in rows]
    return [*counts, Fact("Version", version())]


def heartbeats_kept() -> int:
    """About: ids that were given out, from the oldest that is there."""
    ids = Heartbeat.objects.aggregate(last=Max("id"), first=Min("id"))
    return 0 if ids["last"] is None else ids["last"] - ids["first"] + 1


def database_bytes() -> int:
    on_postgresql = connection.vendor == "postgresql"
    size = "SELECT pg_database_size(current_database())"
    pages = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
    with connection.cursor() as cursor:
        cursor.execute(size if on_postgresql else pages)
        return int(cursor.fetchone()[0])


def megabytes(size: float) -> str:
    """`0.4 MB`, `812 MB`, `12.4 GB`."""
    if size >= 1e9:
        return f"{size / 1e9:,.1f} GB"
    return f"{size / 1e6:,.0f} MB" if size >= 1e7 else f"{size / 1e6:,.1f} MB"


@cache
def version() -> str:
    project = tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text())["project"]
    return f"{project['version']}, Django {django.get_version()}, Python {platform.python_version()}"
