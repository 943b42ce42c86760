"""What a project shows to everybody, if it was asked to: a status page, and badges of its agents.

Names and statuses only: no reason, no money, no link into the admin. An address that is not there and a page that is
switched off are the same 404.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.template.loader import render_to_string
from django.urls import path
from django.utils import timezone
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from agents import availability, standing
from agents.models import Agent, Signal, Status
from agents.standing import Standing
from teams.models import Project

AGENTS_MOST: Final = 200
# What badges say, in the words of shields.io for colours.
COLOURS: Final[dict[str, str]] = {
    Status.DOWN: "red",
    Status.STALLED: "red",
    Status.WARNING: "orange",
    Status.LATE: "yellow",
    Status.WAITING: "blue",
    Status.OK: "brightgreen",
}
HEX: Final = {
    "red": "#b42318",
    "orange": "#a34700",
    "yellow": "#7a5b00",
    "blue": "#175a8f",
    "brightgreen": "#17663a",
    "lightgrey": "#4b5563",
}
# Of a badge's text, at 11 px: about what a letter takes, and the space around it.
LETTER, AROUND = 6.6, 12
for_everybody = cache_control(public=True, max_age=10)


@require_safe
@for_everybody
def status_page(request: HttpRequest, address: str) -> HttpResponse:
    """Every agent of the project, worst first, and its last 90 days."""
    project, now = _project(address), timezone.now()
    shown = _shown(Agent.objects.filter(project=project), now)
    bad = sum(one.status in standing.BAD for one in shown)
    context = {"project": project, "rows": _rows(project, shown, now), "bad": bad, "total": len(shown), "now": now}
    return render(request, "agents/status_page.html", context)


@require_safe
@for_everybody
def agent_badge(request: HttpRequest, address: str, name: str, form: str) -> HttpResponse:
    """One agent's status, by any of its names."""
    return _badge(name, _shown(Agent.objects.filter(project=_project(address), names__name=name), timezone.now()), form)


@require_safe
@for_everybody
def label_badge(request: HttpRequest, address: str, label: str, value: str, form: str) -> HttpResponse:
    """The worst status among the agents with a label."""
    agents = Agent.objects.filter(project=_project(address))
    labelled = [pk for pk, labels in agents.values_list("pk", "labels") if labels.get(label) == value]
    return _badge(f"{label}: {value}", _shown(agents.filter(pk__in=labelled), timezone.now()), form)


def _project(address: str) -> Project:
    return get_object_or_404(Project.objects.exclude(status_page=Project.StatusPage.OFF), status_address=address)


def _shown(agents: QuerySet[Agent], now: datetime) -> list[Standing]:
    """Worst first. Who is paused or was never heard of is shown as such, and counts for nothing."""
    return standing.of(standing.fetched(agents).order_by(standing.rank(now), "name")[:AGENTS_MOST], now)


def _rows(project: Project, shown: list[Standing], now: datetime) -> list[dict[str, Any]]:
    zone, since = ZoneInfo(project.time_zone), now - timedelta(days=availability.DAYS)
    troubles = _troubles([one.agent.pk for one in shown], since)
    rows = []
    for one in shown:
        born = max(one.agent.created_at, since)
        days = availability.days(troubles.get(one.agent.pk, ()), one.agent.created_at, now, zone)
        known = sum(day.state != availability.UNKNOWN for day in days)
        rows.append({"one": one, "days": days, "known": known, "share": availability.share(days, born, now)})
    return rows


def _troubles(agent_ids: Iterable[int], since: datetime) -> dict[int, list[availability.Trouble]]:
    signals = Signal.objects.filter(agent__in=list(agent_ids)).filter(Q(cleared_at=None) | Q(cleared_at__gt=since))
    found: dict[int, list[availability.Trouble]] = {}
    for agent_id, kind, severity, began, ended in signals.values_list(
        "agent_id", "kind", "severity", "started_at", "cleared_at"
    ):
        found.setdefault(agent_id, []).append(availability.Trouble(kind, severity == "critical", began, ended))
    return found


def _badge(label: str, shown: list[Standing], form: str) -> HttpResponse:
    if not shown or form not in FORMS:
        raise Http404
    status = shown[0].status
    return FORMS[form](label, str(Status(status).label), COLOURS.get(status, "lightgrey"))


def _json(label: str, message: str, colour: str) -> HttpResponse:
    """As shields.io reads it."""
    return JsonResponse({"schemaVersion": 1, "label": label, "message": message, "color": colour})


def _svg(label: str, message: str, colour: str) -> HttpResponse:
    left, right = (round(len(text) * LETTER) + AROUND for text in (label, message))
    context = {"label": label, "message": message, "colour": HEX[colour], "left": left, "right": right}
    places = {"whole": left + right, "middle": left / 2, "second": left + right / 2}
    return HttpResponse(render_to_string("agents/badge.svg", context | places), content_type="image/svg+xml")


FORMS: Final[dict[str, Callable[[str, str, str], HttpResponse]]] = {"json": _json, "svg": _svg}

app_name = "public"
urlpatterns = [
    path("status/<str:address>/", status_page, name="status"),
    path("badge/<str:address>/agent/<path:name>.<str:form>", agent_badge, name="agent"),
    path("badge/<str:address>/label/<str:label>/<path:value>.<str:form>", label_badge, name="label"),
]
