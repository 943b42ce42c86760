"""How the installation is, for its operator: load, how far the detector is behind, what waits to be sent, storage.

Numbers over all teams, so only for superusers. Each is one query over rows that are few, or over roll-ups.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.db.models import Count, Max, Min, Sum
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.views.decorators.http import require_safe

from agents import wording
from agents.models import Agent, AgentState, Heartbeat, Incident, Outage, Rollup
from alerts.models import Delivery
from teams.models import Project, Team, User
from teams.scoping import allowed_operator
from watchdog_project import health

# A detector that is this far behind, in seconds, is late: it looks every second.
BEHIND: Final = 5.0
RECENT: Final = timedelta(days=1)
OUTAGES_SHOWN: Final = 5
FULL: Final = 90


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the page; `bad` when somebody should look."""

    label: str
    text: str
    bad: bool = False


def urls() -> list[URLPattern]:
    """Addresses under `/admin/`."""
    return [path("installation/", admin.site.admin_view(installation), name="installation")]


@require_safe
def installation(request: HttpRequest) -> HttpResponse:
    """The page."""
    if not allowed_operator(request):
        raise PermissionDenied
    now = timezone.now()
    context = {
        **admin.site.each_context(request),
        "title": "Installation",
        "now": now,
        "groups": groups(now),
        "failed": _failed(now),
        "outages": Outage.objects.filter(ended_at__gt=now - 7 * RECENT)[:OUTAGES_SHOWN],
    }
    return TemplateResponse(request, "admin/installation.html", context)


def groups(now: datetime) -> list[tuple[str, list[Fact]]]:
    """All facts, under their headings."""
    return [
        ("Health", _health(now)),
        ("Who", _who()),
        ("Load", _load(now)),
        ("Alerts", _alerts(now)),
        ("Storage", _storage()),
    ]


def _health(now: datetime) -> list[Fact]:
    parts = health.parts()
    overdue = AgentState.objects.filter(check_at__lt=now).aggregate(n=Count("pk"), first=Min("check_at"))
    lag = (now - overdue["first"]).total_seconds() if overdue["first"] else 0.0
    return [
        *(Fact(name.capitalize(), said, said != "ok") for name, said in parts.items()),
        Fact("Detector behind by", wording.duration(lag), lag > BEHIND),
        Fact("Agents waiting for a review", wording.count(overdue["n"])),
    ]


def _who() -> list[Fact]:
    rows = (("Teams", Team), ("People", User), ("Projects", Project), ("Agents", Agent))
    return [Fact(label, wording.count(model._default_manager.count())) for label, model in rows]


def _load(now: datetime) -> list[Fact]:
    minute = now.replace(second=0, microsecond=0)
    spans = (("last minute", timedelta(minutes=1)), ("last hour", timedelta(hours=1)))
    sums = [(name, _beats(Rollup.Span.MINUTE, minute - back, minute)) for name, back in spans]
    sums.append(("last 24 hours", _beats(Rollup.Span.HOUR, now - RECENT, now)))
    return [
        *(Fact(f"Heartbeats, {name}", wording.count(beats)) for name, beats in sums),
        Fact("Open incidents", wording.count(Incident.objects.open().count())),
    ]


def _beats(span: str, since: datetime, until: datetime) -> int:
    found = Rollup.objects.filter(span=span, start__gte=since, start__lt=until)
    return found.aggregate(n=Sum("beats"))["n"] or 0


def _alerts(now: datetime) -> list[Fact]:
    waiting = Delivery.objects.pending().aggregate(n=Count("pk"), first=Min("created_at"))
    failed = Delivery.objects.filter(state=Delivery.State.FAILED, created_at__gt=now - RECENT).count()
    sent = Delivery.objects.filter(state=Delivery.State.SENT, sent_at__gt=now - RECENT).count()
    oldest = wording.duration((now - waiting["first"]).total_seconds()) if waiting["first"] else "–"
    return [
        Fact("Waiting to be sent", wording.count(waiting["n"])),
        Fact("Oldest of them", oldest),
        Fact("Sent in 24 hours", wording.count(sent)),
        Fact("Failed in 24 hours", wording.count(failed), failed > 0),
    ]


def _failed(now: datetime) -> Any:
    """Channels that could not be reached in the last day, the worst first."""
    failed = Delivery.objects.filter(state=Delivery.State.FAILED, created_at__gt=now - RECENT)
    rows = failed.values("channel", "channel__name", "channel__project__name", "channel__project__team__name")
    return rows.annotate(n=Count("pk"), last=Max("created_at")).order_by("-n")[:OUTAGES_SHOWN]


def _storage() -> list[Fact]:
    disk = shutil.disk_usage(settings.DATA_DIR)
    used = round(100 * (1 - disk.free / disk.total))
    newest = Heartbeat.objects.aggregate(last=Max("id"), first=Min("id"))
    stored = 0 if newest["last"] is None else newest["last"] - newest["first"] + 1
    return [
        Fact("Database", f"{_database_bytes() / 1e9:,.2f} GB, {connection.vendor}"),
        Fact("Heartbeats kept, about", wording.count(stored)),
        Fact("Disk of the data folder", f"{used} % full, {disk.free / 1e9:,.1f} GB free", used >= FULL),
    ]


def _database_bytes() -> int:
    on_postgresql = connection.vendor == "postgresql"
    size = "SELECT pg_database_size(current_database())"
    pages = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
    with connection.cursor() as cursor:
        cursor.execute(size if on_postgresql else pages)
        return int(cursor.fetchone()[0])
