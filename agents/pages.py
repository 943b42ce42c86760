"""Pages that belong to no model: the fleet at the front, and the first steps of a new project."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any, NamedTuple

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Count, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from agents import standing
from agents.admin import filters
from agents.models import Agent, Incident, Status
from agents.ways import ways
from teams import services
from teams.admin.projects import actor
from teams.models import Project
from teams.roles import Action
from teams.scoping import allowed, teams_of

WORST_SHOWN = 25
INCIDENTS_SHOWN = 8
# What is counted in big numbers.
BIG = (Status.DOWN, Status.STALLED, standing.LOOPING, standing.OVER_BUDGET, Status.OK)
PROJECTS_SHOWN = 50
AGENT = "my-agent"
# htmx: take this answer, and stop asking.
STOP_POLLING = 286


def urls() -> list[URLPattern]:
    """Addresses under `/admin/`."""
    view = admin.site.admin_view
    return [
        path("fleet/", view(fleet_page), name="fleet"),
        path("first-steps/", view(first_steps), name="first_steps"),
        path("first-steps/key/", view(make_key), name="first_steps_key"),
        path("first-steps/beat/", view(first_beat), name="first_steps_beat"),
    ]


# The fleet


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """For Unfold's `DASHBOARD_CALLBACK`."""
    fleet = _fleet(request, timezone.now())
    return {**context, **fleet, "bar": _bar(request) if fleet["total"] else None, "title": "Fleet"}


def _bar(request: HttpRequest) -> filters.Bar:
    projects = _projects(request).order_by("team__name", "name").values_list("pk", "name")[:PROJECTS_SHOWN]
    return filters.fleet_bar(_agents(request), [(str(pk), name) for pk, name in projects])


@require_safe
def fleet_page(request: HttpRequest) -> HttpResponse:
    """The part of the front page that changes."""
    return TemplateResponse(request, "agents/fleet.html", _fleet(request, timezone.now()))


def _agents(request: HttpRequest) -> QuerySet[Agent]:
    return Agent.objects.filter(project__team__in=teams_of(request.user))


def _fleet(request: HttpRequest, now: datetime) -> dict[str, Any]:
    agents = _agents(request)
    counts = _counts(agents, now)
    total = sum(counts.values(), Counter[str]())
    incidents = Incident.objects.open().filter(project__team__in=teams_of(request.user))
    return {
        "now": now,
        "counts": [one for one in _told(total) if one[0] in BIG],
        "others": [one for one in _told(total) if one[0] not in BIG],
        "total": total.total(),
        "bad": sum(total[told] for told in standing.TOLD_BAD),
        "calm": not any(total[told] for told in (*standing.TOLD_BAD, Status.LATE)),
        "groups": _groups(_worst(agents, now), counts),
        "incidents": incidents.select_related("project", "agent")[:INCIDENTS_SHOWN],
        "incident_count": incidents.count(),
    }


def _counts(agents: QuerySet[Agent], now: datetime) -> dict[int, Counter[str]]:
    """By project: how many agents are how."""
    counted = agents.annotate(told=standing.told(now)).order_by().values_list("project_id", "told")
    counts: dict[int, Counter[str]] = {}
    for project_id, told, n in counted.annotate(n=Count("pk")):
        counts.setdefault(project_id, Counter())[told] = n
    return counts


def _told(counts: Counter[str]) -> list[tuple[str, str, int]]:
    return [(told, label, counts[told]) for told, label in standing.TOLD]


def _worst(agents: QuerySet[Agent], now: datetime) -> list[standing.Standing]:
    found = standing.fetched(agents).order_by(standing.rank(now), "name", "pk")[:WORST_SHOWN]
    return standing.with_strips(standing.of(found, now), now)


class Group(NamedTuple):
    """The rows of one project, and how many of its agents are how. No project: there is only one."""

    project: Project | None
    counts: list[tuple[str, str, int]]
    rows: list[standing.Standing]


def _groups(rows: list[standing.Standing], counts: dict[int, Counter[str]]) -> list[Group]:
    """Projects in the order of their worst agents."""
    if len(counts) < 2:
        return [Group(None, [], rows)]
    found: dict[Project, list[standing.Standing]] = {}
    for row in rows:
        found.setdefault(row.agent.project, []).append(row)
    return [
        Group(project, [one for one in _told(counts.get(project.pk, Counter())) if one[2]], own)
        for project, own in found.items()
    ]


# The first steps


@require_safe
def first_steps(request: HttpRequest) -> HttpResponse:
    """From a new project to its first heartbeat, in under a minute."""
    project = _project(request, request.GET.get("project"))
    return TemplateResponse(request, "agents/first_steps.html", _steps(request, project))


@require_POST
def make_key(request: HttpRequest) -> HttpResponse:
    """Make a key and show it, in this answer and nowhere else. With `first`, only for a project that has none."""
    project = _project(request, request.POST.get("project"))
    if project is None or not allowed(request, Action.MANAGE, project.team_id):
        raise PermissionDenied
    raw = "" if "first" in request.POST and project.api_keys.exists() else _new_key(project, actor(request))
    template = "agents/first_steps_setup.html" if getattr(request, "htmx", False) else "agents/first_steps.html"
    return TemplateResponse(request, template, _steps(request, project, raw))


def _new_key(project: Project, by: str) -> str:
    return services.issue_key(project=project, name="first steps", scope="agent", actor=by)[1]


@require_safe
def first_beat(request: HttpRequest) -> HttpResponse:
    """Whether a heartbeat has come yet."""
    project = _project(request, request.GET.get("project"))
    context = _beat(project, timezone.now())
    return TemplateResponse(
        request, "agents/first_steps_beat.html", context, status=STOP_POLLING if context["agent"] else 200
    )


def _projects(request: HttpRequest) -> QuerySet[Project]:
    return Project.objects.filter(team__in=teams_of(request.user)).select_related("team").order_by("-pk")


def _project(request: HttpRequest, wanted: str | None) -> Project | None:
    """The project that was asked for, else the newest; 404 for those of others."""
    if wanted is None:
        return _projects(request).first()
    found = _projects(request).filter(pk=wanted).first() if wanted.isdecimal() and len(wanted) < 19 else None
    if found is None:
        raise Http404("There is no such project.")
    return found


def _steps(request: HttpRequest, project: Project | None, raw: str = "") -> dict[str, Any]:
    now = timezone.now()
    context = {
        **admin.site.each_context(request),
        "title": "First steps",
        "projects": _projects(request)[:PROJECTS_SHOWN],
        "raw": raw,
        "ways": ways(raw or "YOUR_KEY", settings.BASE_URL, AGENT),
    }
    if project is not None:
        context |= {**_beat(project, now), "keys": project.api_keys.filter(revoked_at__isnull=True).count()}
        context["may_make_keys"] = allowed(request, Action.MANAGE, project.team_id)
    return context


def _beat(project: Project | None, now: datetime) -> dict[str, Any]:
    """The agent that reported last, if any did."""
    agents = Agent.objects.filter(project=project, state__last_beat_at__isnull=False)
    return {"now": now, "project": project, "agent": standing.fetched(agents).order_by("-state__last_beat_at").first()}
