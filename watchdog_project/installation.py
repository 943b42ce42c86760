"""The operator's page: how the installation is (`metrics.py`), which teams load it, what failed."""

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
from teams.models import Team
from teams.tenant_admin import allowed_operator
from watchdog_project import metrics

SHOWN: Final = 5
TEAMS_SHOWN: Final = 10
WEEK: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Load:
    """What one team asks of the installation. `kept` are its heartbeats that are stored, `size` what they take."""

    team: Team
    plan: str
    agents: int
    beats: int
    share: int
    kept: int
    size: str


@dataclass(frozen=True, slots=True)
class Loads:
    """The heaviest teams, and what all sent in the last 24 hours; `grows` is what that takes."""

    teams: list[Load]
    beats: int
    grows: str


def urls() -> list[URLPattern]:
    """Addresses under `/admin/`."""
    return [path("installation/", admin.site.admin_view(installation), name="installation")]


@require_safe
def installation(request: HttpRequest) -> HttpResponse:
    """The page. A poll gets one of its parts: `now`, or `loads`, which takes longer and changes slowly."""
    if not allowed_operator(request):
        raise PermissionDenied
    now = timezone.now()
    if getattr(request, "htmx", False):
        asked = "loads" if request.GET.get("part") == "loads" else "now"
        return TemplateResponse(request, f"admin/installation_{asked}.html", {"now": now, **PARTS[asked](now)})
    context = {**admin.site.each_context(request), "title": "Installation", "now": now}
    return TemplateResponse(request, "admin/installation.html", {**context, **_now(now), **_loads(now)})


def _now(now: datetime) -> dict[str, Any]:
    outages = Outage.objects.filter(ended_at__gt=now - WEEK)[:SHOWN]
    return {"groups": metrics.groups(now), "failed": _failed(now), "outages": outages}


def _loads(now: datetime) -> dict[str, Any]:
    return {"loads": loads(now)}


PARTS: Final = {"now": _now, "loads": _loads}


def loads(now: datetime) -> Loads:
    """The teams that sent most in the last 24 hours, the heaviest first."""
    with _by_index():
        hours = Rollup.objects.filter(span=Rollup.Span.HOUR, start__gt=now - metrics.RECENT)
        beats = _by_team(hours, Sum("beats"))
        heaviest = sorted(beats, key=lambda pk: -beats[pk])[:TEAMS_SHOWN]
        days = Rollup.objects.filter(span=Rollup.Span.DAY, agent__project__team__in=heaviest)
        kept = _by_team(days, Sum("beats"))
    agents = _agents(heaviest)
    of_one, total = metrics.database_bytes() / (metrics.heartbeats_kept() or 1), sum(beats.values())
    teams = Team.objects.select_related("subscription").in_bulk(heaviest)
    rows = [
        Load(
            team=teams[pk],
            plan=_plan(teams[pk]),
            agents=agents.get(pk, 0),
            beats=beats[pk],
            share=round(100 * beats[pk] / total),
            kept=kept.get(pk, 0),
            size=metrics.megabytes(of_one * kept.get(pk, 0)),
        )
        for pk in heaviest
    ]
    return Loads(rows, total, metrics.megabytes(of_one * total))


@contextmanager
def _by_index() -> Iterator[None]:
    """PostgreSQL expects more rows than there are: it would rather read all sums that are kept than find these few by
    their index."""
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL enable_seqscan = off")
        yield


def _by_team(spans: QuerySet[Rollup], what: Sum) -> dict[int, int]:
    return dict(spans.order_by().values_list("agent__project__team").annotate(n=what))


def _agents(team_ids: list[int]) -> dict[int, int]:
    agents = Agent.objects.filter(project__team__in=team_ids).order_by()
    return dict(agents.values_list("project__team").annotate(n=Count("pk")))


def _plan(team: Team) -> str:
    subscription = getattr(team, "subscription", None)
    return plans.BY_KEY[subscription.plan if subscription else settings.DEFAULT_PLAN].label


def _failed(now: datetime) -> Any:
    """Channels that could not be reached in the last day, the worst first."""
    failed = Delivery.objects.filter(state=Delivery.State.FAILED, created_at__gt=now - metrics.RECENT)
    rows = failed.values("channel", "channel__name", "channel__project__name", "channel__project__team__name")
    return rows.annotate(n=Count("pk"), last=Max("created_at")).order_by("-n")[:SHOWN]
