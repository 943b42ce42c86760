"""Metrics of the installation for the operator: health, load, alert queue, storage.

Totals over all teams. Each is one query over few rows, or over roll-ups.
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
# Thresholds for `late` and `bad`. The detector runs every second, the relay every two, roll-ups every minute.
# Durations are seconds, disk usage is percent.
DETECTOR_LAG: Final = (5.0, 30.0)
QUEUE_LENGTH: Final = (60, 600)
UNSENT_AGE: Final = (60.0, 600.0)
PULSE_AGE: Final = (180.0, 900.0)
FAILED_COUNT: Final = (1, 100)
DISK_USAGE: Final = (80, 90)
RECENT: Final = timedelta(days=1)
QUEUES: Final = (("celery", "Queued tasks"), ("alerts", "Queued alert tasks"))
ADD_WORKER: Final = "start the worker, or add another one"
COMPONENTS: Final = (
    ("database", "check its log"),
    ("broker", "start it"),
    ("detector", "start the worker and the scheduler (beat)"),
)


@dataclass(frozen=True, slots=True)
class Metric:
    """One line of the page. `level` is empty, `late` or `bad`; `advice` says what to do about it."""

    label: str
    text: str
    level: str = ""
    advice: str = ""


def _graded(label: str, text: str, value: float, bounds: tuple[float, float], advice: str) -> Metric:
    level = BAD if value >= bounds[1] else LATE if value >= bounds[0] else ""
    return Metric(label, text, level, advice if level else "")


def groups(now: datetime) -> list[tuple[str, list[Metric]]]:
    """All metrics by heading."""
    pulses = dict(Pulse.objects.values_list("name", "at"))
    return [
        ("Health", [*_components(), *_detector(now), *_queues(), *_pulses(pulses, now)]),
        ("Load", [*_load(pulses.get(rollups.ROLLUP), now), _open_incidents()]),
        ("Alerts", _alerts(now)),
        ("Storage", _storage()),
        ("Totals", _totals()),
    ]


def _components() -> list[Metric]:
    states = health.components()
    return [
        Metric(name.capitalize(), states[name], "" if states[name] == "ok" else BAD, advice)
        for name, advice in COMPONENTS
    ]


def _detector(now: datetime) -> list[Metric]:
    overdue = AgentState.objects.filter(check_at__lt=now).aggregate(n=Count("pk"), first=Min("check_at"))
    lag = (now - overdue["first"]).total_seconds() if overdue["first"] else 0.0
    return [
        _graded("Detector lag", times.duration(lag), lag, DETECTOR_LAG, ADD_WORKER),
        Metric("Agents due for evaluation", formatting.count(overdue["n"])),
    ]


def _queues() -> list[Metric]:
    depths = health.queued([name for name, _ in QUEUES])
    if depths is None:
        return []
    return [
        _graded(label, formatting.count(depths[name]), depths[name], QUEUE_LENGTH, ADD_WORKER) for name, label in QUEUES
    ]


def _pulses(at: dict[str, datetime], now: datetime) -> list[Metric]:
    rows = (
        ("Web process last seen", outage_log.EDGE, "start the web process"),
        ("Roll-ups updated", rollups.ROLLUP, ADD_WORKER),
    )
    return [
        _graded(label, times.ago(at[name], now), (now - at[name]).total_seconds(), PULSE_AGE, advice)
        for label, name, advice in rows
        if name in at
    ]


def _load(rolled_up_at: datetime | None, now: datetime) -> list[Metric]:
    """Reporting agents come from the hot rows, heartbeats from the last full minute that is rolled up."""
    reporting = AgentState.objects.filter(last_beat_at__gt=now - timedelta(minutes=1)).count()
    metrics = [Metric("Agents reporting in the last minute", formatting.count(reporting))]
    if rolled_up_at is None:
        return metrics
    until = rolled_up_at.replace(second=0, microsecond=0)
    begin, hour = until - timedelta(minutes=1), until - timedelta(hours=1)
    clock = timezone.localtime(begin)
    return [
        *metrics,
        Metric("Heartbeats per minute", f"{formatting.count(_beats(begin, until))}, at {clock:%H:%M}"),
        Metric("Heartbeats in the last hour", formatting.count(_beats(hour, until))),
    ]


def _beats(since: datetime, until: datetime) -> int:
    minutes = Rollup.objects.filter(span=Rollup.Span.MINUTE, start__gte=since, start__lt=until)
    return minutes.aggregate(n=Sum("beats"))["n"] or 0


def _open_incidents() -> Metric:
    return Metric("Open incidents", formatting.count(Incident.objects.open().count()))


def _alerts(now: datetime) -> list[Metric]:
    waiting = Delivery.objects.pending().aggregate(n=Count("pk"), first=Min("created_at"))
    failed = Delivery.objects.filter(state=Delivery.State.FAILED, created_at__gt=now - RECENT).count()
    sent = Delivery.objects.filter(state=Delivery.State.SENT, sent_at__gt=now - RECENT).count()
    age = (now - waiting["first"]).total_seconds() if waiting["first"] else 0.0
    oldest = times.duration(age) if waiting["first"] else "–"
    return [
        Metric("Waiting to be sent", formatting.count(waiting["n"])),
        _graded("Oldest waiting", oldest, age, UNSENT_AGE, "its channel may be down: see Notification log"),
        Metric("Sent in 24 hours", formatting.count(sent)),
        _graded("Failed in 24 hours", formatting.count(failed), failed, FAILED_COUNT, "see the channels below"),
    ]


def _storage() -> list[Metric]:
    disk = shutil.disk_usage(settings.DATA_DIR)
    used = round(100 * (1 - disk.free / disk.total))
    return [
        Metric("Database", f"{megabytes(database_bytes())}, {connection.display_name}"),
        Metric("Heartbeats stored (approx.)", formatting.count(heartbeats_stored())),
        _graded(
            "Data directory disk", f"{used} % full, {megabytes(disk.free)} free", used, DISK_USAGE, "free up disk space"
        ),
    ]


def _totals() -> list[Metric]:
    rows = (("Teams", Team), ("People", User), ("Projects", Project), ("Agents", Agent))
    counts = [Metric(label, formatting.count(model._default_manager.count())) for label, model in rows]
    return [*counts, Metric("Version", version())]


def heartbeats_stored() -> int:
    """An estimate without a full count: the range of ids from the oldest stored row."""
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
