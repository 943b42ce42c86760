"""The operator's page: metrics of the installation (`metrics.py`), load by team, recent failures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import connection, transaction
from django.db.models import Count, Max, QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.views.decorators.http import require_safe

from agents.models import Agent, Outage, Rollup
from alerts.models import Delivery
from billing import plans
from teams.access import is_operator
from teams.models import Team
from watchdog_project import metrics

MAX_ROWS: Final = 5
MAX_TEAMS: Final = 10
WEEK: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class TeamLoad:
    """Load caused by one team in 24 hours. `share` is in percent; `stored` heartbeats take about `size`."""

    team: Team
    plan: str
    agents: int
    beats: int
    share: int
    stored: int
    size: str


@dataclass(frozen=True, slots=True)
class Loads:
    """The teams with most heartbeats, and the total of all teams in 24 hours, which takes about `growth`."""

    teams: list[TeamLoad]
    beats: int
    growth: str


def urls() -> list[URLPattern]:
    """URLs below `/admin/`."""
    return [path("installation/", admin.site.admin_view(installation), name="installation")]


@require_safe
def installation(request: HttpRequest) -> HttpResponse:
    """The page. Live updates request one of its parts: `now`, or `loads`, which is slower and changes less."""
    if not is_operator(request):
        raise PermissionDenied
    now = timezone.now()
    if getattr(request, "htmx", False):
        part = "loads" if request.GET.get("part") == "loads" else "now"
        return TemplateResponse(request, f"admin/installation_{part}.html", {"now": now, **PARTS[part](now)})
    context = {**admin.site.each_context(request), "title": "Installation", "now": now}
    return TemplateResponse(request, "admin/installation.html", {**context, **_now(now), **_loads(now)})


def _now(now: datetime) -> dict[str, Any]:
    outages = Outage.objects.filter(ended_at__gt=now - WEEK)[:MAX_ROWS]
    return {"groups": metrics.groups(now), "failed": _failed(now), "outages": outages}


def _loads(now: datetime) -> dict[str, Any]:
    return {"loads": loads(now)}


PARTS: Final = {"now": _now, "loads": _loads}


def loads(now: datetime) -> Loads:
    """The teams that sent most heartbeats in the last 24 hours, in descending order."""
    with _prefer_index():
        hours = Rollup.objects.filter(span=Rollup.Span.HOUR, start__gt=now - metrics.RECENT)
        beats = _by_team(hours, Sum("beats"))
        heaviest = sorted(beats, key=lambda pk: -beats[pk])[:MAX_TEAMS]
        days = Rollup.objects.filter(span=Rollup.Span.DAY, agent__project__team__in=heaviest)
        stored = _by_team(days, Sum("beats"))
    agents = _agents(heaviest)
    bytes_each, total = metrics.database_bytes() / (metrics.heartbeats_stored() or 1), sum(beats.values())
    teams = Team.objects.select_related("subscription").in_bulk(heaviest)
    rows = [
        TeamLoad(
            team=teams[pk],
            plan=_plan(teams[pk]),
            agents=agents.get(pk, 0),
            beats=beats[pk],
            share=round(100 * beats[pk] / total),
            stored=stored.get(pk, 0),
            size=metrics.megabytes(bytes_each * stored.get(pk, 0)),
        )
        for pk in heaviest
    ]
    return Loads(rows, total, metrics.megabytes(bytes_each * total))


@contextmanager
def _prefer_index() -> Iterator[None]:
    """PostgreSQL overestimates the number of rows and would scan all roll-ups instead of using the index."""
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL enable_seqscan = off")
        yield


def _by_team(spans: QuerySet[Rollup], total: Sum) -> dict[int, int]:
    return dict(spans.order_by().values_list("agent__project__team").annotate(n=total))


def _agents(team_ids: list[int]) -> dict[int, int]:
    agents = Agent.objects.filter(project__team__in=team_ids).order_by()
    return dict(agents.values_list("project__team").annotate(n=Count("pk")))


def _plan(team: Team) -> str:
    subscription = getattr(team, "subscription", None)
    return plans.BY_KEY[subscription.plan if subscription else settings.DEFAULT_PLAN].label


def _failed(now: datetime) -> Any:
    """Channels with failed notifications in the last 24 hours, most failures first."""
    failed = Delivery.objects.filter(state=Delivery.State.FAILED, created_at__gt=now - metrics.RECENT)
    rows = failed.values("channel", "channel__name", "channel__project__name", "channel__project__team__name")
    return rows.annotate(n=Count("pk"), last=Max("created_at")).order_by("-n")[:MAX_ROWS]
