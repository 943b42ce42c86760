"""The page at the front: the fleet."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any, NamedTuple

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from agents import standing
from agents.admin import choosing, filters
from agents.models import Agent, Incident, Status
from billing import refusals
from teams.listing import Bar
from teams.models import Project
from teams.roles import Action
from teams.scoping import teams_of

WORST_SHOWN = 25
INCIDENTS_SHOWN = 8
# What is counted in big numbers.
BIG = (Status.DOWN, Status.STALLED, standing.LOOPING, standing.OVER_BUDGET, Status.OK)
PROJECTS_SHOWN = 50


def urls() -> list[URLPattern]:
    """Addresses under `/admin/`."""
    view = admin.site.admin_view
    return [
        path("fleet/", view(fleet_page), name="fleet"),
    ]


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """For Unfold's `DASHBOARD_CALLBACK`."""
    fleet = _fleet(request, timezone.now())
    short = refusals.short_of_places(teams_of(request.user, Action.MANAGE), fleet["now"])
    bar = _bar(request) if fleet["total"] else None
    return {**context, **fleet, "bar": bar, "short_of_places": short, "title": "Fleet"}


def _bar(request: HttpRequest) -> Bar:
    found = projects(request).order_by("team__name", "name").values_list("pk", "name")[:PROJECTS_SHOWN]
    return filters.fleet_bar(_agents(request), [(str(pk), name) for pk, name in found])


@require_safe
def fleet_page(request: HttpRequest) -> HttpResponse:
    """The part of the front page that changes."""
    return TemplateResponse(request, "agents/fleet.html", _fleet(request, timezone.now()))


def projects(request: HttpRequest) -> QuerySet[Project]:
    """Those of the person, the newest first."""
    return Project.objects.filter(team__in=teams_of(request.user)).select_related("team").order_by("-pk")


def _agents(request: HttpRequest) -> QuerySet[Agent]:
    return Agent.objects.filter(project__team__in=teams_of(request.user))


def _fleet(request: HttpRequest, now: datetime) -> dict[str, Any]:
    agents = _agents(request)
    counts, rows = _counts(agents, now), _worst(agents, now)
    total = sum(counts.values(), Counter[str]())
    incidents = Incident.objects.open().filter(project__team__in=teams_of(request.user))
    return {
        "now": now,
        "counts": [one for one in _told(total) if one[0] in BIG],
        "others": [one for one in _told(total) if one[0] not in BIG],
        "total": total.total(),
        "bad": sum(total[told] for told in standing.TOLD_BAD),
        "calm": not any(total[told] for told in (*standing.TOLD_BAD, Status.LATE)),
        "shown": len(rows),
        "choosing": choosing.choosing(request, rows, total.total(), reverse("admin:index")),
        "groups": _groups(rows, counts),
        "incidents": incidents.select_related("project", "agent")[:INCIDENTS_SHOWN],
        "incident_count": incidents.count(),
    }


def _counts(agents: QuerySet[Agent], now: datetime) -> dict[Place, Counter[str]]:
    """By project: how many agents are how."""
    counted = agents.annotate(told=standing.told(now)).order_by().values_list("project_id", "project__name", "told")
    counts: dict[Place, Counter[str]] = {}
    for pk, name, told, n in counted.annotate(n=Count("pk")):
        counts.setdefault(Place(pk, name), Counter())[told] = n
    return counts


def _told(counts: Counter[str]) -> list[tuple[str, str, int]]:
    return [(told, label, counts[told]) for told, label in standing.TOLD]


def _worst(agents: QuerySet[Agent], now: datetime) -> list[standing.Standing]:
    found = standing.fetched(agents).order_by(standing.rank(now), "name", "pk")[:WORST_SHOWN]
    return standing.with_strips(standing.of(found, now), now)


class Place(NamedTuple):
    """A project, as far as the fleet names it."""

    pk: int
    name: str


class Group(NamedTuple):
    """The rows of one project, and how many of its agents are how. No project: there is only one."""

    project: Place | None
    counts: list[tuple[str, str, int]]
    rows: list[standing.Standing]

    @property
    def unshown(self) -> int:
        return sum(n for _, _, n in self.counts) - len(self.rows)


def _groups(rows: list[standing.Standing], counts: dict[Place, Counter[str]]) -> list[Group]:
    """Projects in the order of their worst agents; then those none of whose agents is among the worst."""
    if len(counts) < 2:
        return [Group(None, [], rows)]
    found: dict[Place, list[standing.Standing]] = {}
    for row in rows:
        found.setdefault(Place(row.agent.project_id, row.agent.project.name), []).append(row)
    rest = sorted(counts.keys() - found.keys(), key=lambda place: (place.name, place.pk))
    found |= {place: [] for place in rest[:PROJECTS_SHOWN]}
    return [
        Group(place, [one for one in _told(counts.get(place, Counter())) if one[2]], own)
        for place, own in found.items()
    ]
