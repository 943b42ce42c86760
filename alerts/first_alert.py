"""The last of the first steps: a test alert, by a channel made for it here or one that is there already."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.forms.boundfield import BoundField
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from agents.admin import first_steps
from alerts import channels, services
from alerts.channels import email
from alerts.forms import BaseChannelForm, ChannelForm, field_name, settings_of
from alerts.models import Channel, Delivery
from teams.access import allowed
from teams.admin.projects import actor
from teams.errors import ApiError
from teams.models import Project
from teams.roles import Action


class Offer(NamedTuple):
    """A kind of channel, and what it needs to know."""

    kind: str
    label: str
    fields: list[BoundField]


class Outcome(NamedTuple):
    """What became of a test. `secret` is what was made for the channel just now, if its kind has one."""

    channel: Channel
    delivery: Delivery
    secret: str | None = None


def urls() -> list[URLPattern]:
    """Addresses under `/admin/`."""
    return [path("first-steps/alert/", admin.site.admin_view(first_alert), name="first_steps_alert")]


@require_http_methods(["GET", "POST"])
def first_alert(request: HttpRequest) -> HttpResponse:
    """The step: a part of the first steps' page, and a page of its own for who has no script."""
    project = first_steps.project_of(request, (request.POST or request.GET).get("project"))
    if project is None:
        raise Http404("There is no project yet.")
    done = _post(request, project) if request.method == "POST" else {}
    part = "alerts/first_alert_step.html" if getattr(request, "htmx", False) else "alerts/first_alert.html"
    return TemplateResponse(request, part, {**_step(request, project), **done})


def _step(request: HttpRequest, project: Project) -> dict[str, Any]:
    return {
        **admin.site.each_context(request),
        "title": "A test alert",
        "project": project,
        "channels": project.channels.order_by("pk"),
        "offers": _offers(ChannelForm(initial={field_name(email.KIND, "to"): actor(request)})),
        "may_test": allowed(request, Action.OPERATE, project.team_id),
        "may_make": allowed(request, Action.CONFIGURE, project.team_id),
    }


def _offers(form: BaseChannelForm) -> list[Offer]:
    return [
        Offer(kind.KIND, kind.LABEL, [form[field_name(kind.KIND, name)] for name in settings_of(kind)])
        for kind in channels.ALL
    ]


def _post(request: HttpRequest, project: Project) -> dict[str, Any]:
    """Make the channel, if none is named, and send the test; what the step shows of it."""
    wanted = request.POST.get("channel", "")
    if not allowed(request, Action.OPERATE if wanted else Action.CONFIGURE, project.team_id):
        raise PermissionDenied
    if wanted:
        channel = get_object_or_404(project.channels, pk=first_steps.number(wanted))
        return {"outcome": _tested(channel, actor(request))}
    form = ChannelForm({**request.POST.dict(), "project": project.pk, "name": _name(request.POST.get("kind", ""))})
    if not form.is_valid():
        return {"offers": _offers(form), "wrong": form.errors.get("kind")}
    return _made(project, form.cleaned_data, actor(request))


def _name(kind: str) -> str:
    """What the channel is called, until somebody says better."""
    return channels.BY_KIND[kind].LABEL if kind in channels.BY_KIND else kind


def _made(project: Project, entered: dict[str, Any], by: str) -> dict[str, Any]:
    try:
        channel, secret = services.create_channel(
            project=project, kind=entered["kind"], name=entered["name"], config=entered["config"], actor=by
        )
    except ApiError as error:
        return {"wrong": [error.message]}
    return {"outcome": _tested(channel, by, secret)}


def _tested(channel: Channel, by: str, secret: str | None = None) -> Outcome:
    delivery = services.send_test(channel=channel, actor=by, now=timezone.now())
    return Outcome(channel, delivery, secret)
