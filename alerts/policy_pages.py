"""The page of a project's policy: its rules as sentences, who would be notified of a problem now, and the rules as JSON
to edit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from agents.models import Agent, Severity, SignalKind
from alerts import on_call, policies, policy_changes, policy_preview, rotations
from alerts.models import OnCall
from alerts.policies import Rule
from teams.access import allowed, teams_of
from teams.admin.projects import actor
from teams.errors import ApiError
from teams.models import Project
from teams.roles import Action

# Offered where a project has no policy yet.
EXAMPLE: Final = [
    {
        "name": "Critical",
        "match": {"severity": "critical"},
        "steps": [{"channels": ["Ops"]}, {"people": ["you@example.com"], "after": 15, "repeat": 30, "times": 3}],
    }
]


def urls() -> list[URLPattern]:
    """Addresses below `/admin/`."""
    return [path("policy/", admin.site.admin_view(policy), name="policy")]


@require_http_methods(["GET", "POST"])
def policy(request: HttpRequest) -> HttpResponse:
    visible = Project.objects.filter(team__in=teams_of(request.user)).select_related("team").order_by("name", "pk")
    wanted = request.GET.get("project", "")
    project = get_object_or_404(visible, pk=wanted) if wanted.isdecimal() else visible.first()
    context = {**admin.site.each_context(request), "title": "Notification policy", "projects": visible}
    if project is None:
        return TemplateResponse(request, "alerts/policy.html", context)
    if request.method == "POST":
        return _post(request, project, context)
    rules = policy_changes.rules_of(project)
    return _page(request, project, context, rules, _as_text(rules or EXAMPLE))


def _post(request: HttpRequest, project: Project, context: dict[str, Any]) -> HttpResponse:
    """Check the rules, or save them."""
    if not allowed(request, Action.CONFIGURE, project.team_id):
        raise PermissionDenied
    text = request.POST.get("rules", "")
    try:
        data = _parsed(text)
        if request.POST.get("do") == "check":
            return _page(request, project, context | {"is_draft": True}, policy_changes.check(project, data), text)
        policy_changes.save(project=project, data=data, actor=actor(request), now=timezone.now())
    except ApiError as error:
        return _page(request, project, context | {"error": error.message}, policy_changes.rules_of(project), text)
    messages.success(request, "Saved. Incidents that are open keep the rule they have.")
    return redirect(f"{reverse('admin:policy')}?project={project.pk}")


def _parsed(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
        raise ApiError(422, "invalid", f"This is not valid JSON: {error}") from None


def _as_text(rules: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(rules)).decode()


def _page(
    request: HttpRequest, project: Project, context: dict[str, Any], rules: Sequence[Rule], text: str
) -> TemplateResponse:
    shown = {
        "project": project,
        "rules": [(rule, policies.sentences(rule)) for rule in rules],
        "problems": policy_changes.problems(project, rules),
        "text": text,
        "on_duty": _on_duty(project),
        "may_change": allowed(request, Action.CONFIGURE, project.team_id),
        **_preview(project, rules, request.GET),
    }
    return TemplateResponse(request, "alerts/policy.html", {**context, **shown})


def _on_duty(project: Project) -> list[tuple[OnCall, str, str]]:
    """Each rotation, who is on call, and the address of its calendar."""
    now, rows = timezone.now(), OnCall.objects.filter(project=project)
    return [(row, rotations.on_call(on_call.rotation_of(row), now), on_call.feed_url(row)) for row in rows]


def _preview(project: Project, rules: Sequence[Rule], query: Mapping[str, str]) -> dict[str, Any]:
    agents = Agent.objects.filter(project=project).select_related("project").order_by("name")
    kind, severity = query.get("kind", SignalKind.STALLED), query.get("severity", Severity.CRITICAL)
    name = query.get("agent", "")
    # PostgreSQL refuses to look for a NUL character.
    agent = agents.filter(name=name).first() if name and "\0" not in name else None
    now = timezone.now()
    return {
        "agents": agents.values_list("name", flat=True),
        "kinds": SignalKind.choices,
        "severities": Severity.values,
        "query": {"agent": name, "kind": kind, "severity": severity},
        "agent": agent,
        "preview": policy_preview.preview(rules, agent, kind, severity, now) if agent else [],
    }
