"""Getting started with a project: its names, a key, the code to paste, the first heartbeat.

The last step, a test alert, is a page of `alerts`; the template links to it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import count
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, Max, OuterRef, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from agents.admin.fleet import PROJECTS_SHOWN, projects
from agents.admin.quickstart import tabs
from agents.models import Agent
from agents.reporting import agent_status
from billing.models import Refusal
from teams import services
from teams.access import allowed
from teams.admin.projects import actor
from teams.errors import ApiError
from teams.forms import NamesForm
from teams.models import Project
from teams.roles import Action

AGENT = "my-agent"
# What this page calls the keys it creates.
KEY_NAME = "first steps"
# How long the page says that an agent was refused because the plan is full.
LATELY = timedelta(minutes=5)
# htmx swaps in this response and stops polling.
STOP_POLLING = 286


def urls() -> list[URLPattern]:
    """URLs under `/admin/`."""
    view = admin.site.admin_view
    return [
        path("first-steps/", view(first_steps), name="first_steps"),
        path("first-steps/names/", view(rename), name="first_steps_names"),
        path("first-steps/key/", view(make_key), name="first_steps_key"),
        path("first-steps/beat/", view(first_beat), name="first_steps_beat"),
    ]


def project_of(request: HttpRequest, wanted: str | None) -> Project | None:
    """The requested project, else the newest one without agents that report, else the newest.

    Raises 404 for projects of other teams.
    """
    if wanted is None:
        started = Agent.objects.filter(project=OuterRef("pk"), state__last_beat_at__isnull=False)
        return projects(request).exclude(Exists(started)).first() or projects(request).first()
    project = projects(request).filter(pk=number(wanted)).first()
    if project is None:
        raise Http404("No such project.")
    return project


def number(text: str) -> int:
    """The number in a text; 0, which no row has, if it is not a valid id."""
    return int(text) if text.isdecimal() and len(text) < 19 else 0


@require_safe
def first_steps(request: HttpRequest) -> HttpResponse:
    """From a new project to its first heartbeat."""
    project = project_of(request, request.GET.get("project"))
    return TemplateResponse(request, "agents/first_steps.html", _steps(request, project))


@require_POST
def rename(request: HttpRequest) -> HttpResponse:
    """Rename the project and, for owners, the team."""
    project = _managed(request)
    form = _names(request, project, request.POST)
    if form.is_valid() and _renamed(project, form, actor(request)):
        return redirect(f"{reverse('admin:first_steps')}?project={project.pk}")
    return TemplateResponse(request, "agents/first_steps.html", {**_steps(request, project), "names": form})


def _names(request: HttpRequest, project: Project, data: Any = None) -> NamesForm:
    form = NamesForm(data, initial={"team_name": project.team.name, "project_name": project.name})
    if not allowed(request, Action.OWN, project.team_id):
        del form.fields["team_name"]
    return form


def _renamed(project: Project, form: NamesForm, by: str) -> bool:
    try:
        services.rename_project(project=project, name=form.cleaned_data["project_name"], actor=by)
    except ApiError as error:
        form.add_error("project_name", error.message)
        return False
    if "team_name" in form.fields:
        services.rename_team(team=project.team, name=form.cleaned_data["team_name"], actor=by)
    return True


@require_POST
def make_key(request: HttpRequest) -> HttpResponse:
    """Create a key and show it once, in this response. With `first`, only if the project still needs one."""
    project = _managed(request)
    raw = "" if "first" in request.POST and not _needs_key(project) else _new_key(project, actor(request))
    template = "agents/first_steps_setup.html" if getattr(request, "htmx", False) else "agents/first_steps.html"
    return TemplateResponse(request, template, _steps(request, project, raw))


def _managed(request: HttpRequest) -> Project:
    project = project_of(request, request.POST.get("project"))
    if project is None or not allowed(request, Action.MANAGE, project.team_id):
        raise PermissionDenied
    return project


def _needs_key(project: Project) -> bool:
    """Whether nothing has reported yet and this page has made no key: what another page showed may be out of reach."""
    return not (_reporting(project).exists() or project.api_keys.filter(name=KEY_NAME).exists())


def _new_key(project: Project, by: str) -> str:
    return services.issue_key(project=project, name=KEY_NAME, scope="agent", actor=by)[1]


@require_safe
def first_beat(request: HttpRequest) -> HttpResponse:
    """Whether an agent with an id above `beyond` has sent a heartbeat."""
    project = project_of(request, request.GET.get("project"))
    context = _first_beat(project, timezone.now(), number(request.GET.get("beyond", "0")))
    return TemplateResponse(
        request, "agents/first_steps_heartbeat.html", context, status=STOP_POLLING if context["agent"] else 200
    )


def _steps(request: HttpRequest, project: Project | None, raw: str = "") -> dict[str, Any]:
    shared = {
        **admin.site.each_context(request),
        "title": "Get started",
        "projects": projects(request)[:PROJECTS_SHOWN],
        "raw": raw,
    }
    if project is None:
        return shared
    reporting = _reporting(project)
    may_manage = allowed(request, Action.MANAGE, project.team_id)
    return {
        **shared,
        **_first_beat(project, timezone.now(), reporting.aggregate(newest=Max("pk"))["newest"] or 0),
        "reported": reporting.count(),
        "needs_key": _needs_key(project) and may_manage,
        "keys": project.api_keys.filter(revoked_at__isnull=True).count(),
        "names": _names(request, project) if may_manage else None,
        "may_create_keys": may_manage,
        "tabs": tabs(raw or "YOUR_KEY", settings.BASE_URL, _free_name(project)),
    }


def _free_name(project: Project) -> str:
    """An unused agent name for the code to paste."""
    taken = set(Agent.objects.filter(project=project, name__startswith=AGENT).values_list("name", flat=True))
    names = (AGENT if n == 1 else f"{AGENT}-{n}" for n in count(1))
    return next(name for name in names if name not in taken)


def _reporting(project: Project | None) -> QuerySet[Agent]:
    return Agent.objects.filter(project=project, state__last_beat_at__isnull=False)


def _first_beat(project: Project | None, now: datetime, beyond: int) -> dict[str, Any]:
    """The agent above id `beyond` that reported last, if any."""
    newer = agent_status.with_related(_reporting(project).filter(pk__gt=beyond))
    agent = newer.order_by("-state__last_beat_at").first()
    refused = None if agent else Refusal.objects.filter(project=project, last_at__gt=now - LATELY).first()
    return {"now": now, "project": project, "beyond": beyond, "agent": agent, "refused": refused}
