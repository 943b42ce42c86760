"""The last step of getting started: a test alert, to a new or an existing channel."""

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
from alerts import channels, message, services
from alerts.channels import email
from alerts.forms import BaseChannelForm, ChannelForm, field_name, settings_of
from alerts.models import Channel, Delivery
from teams.access import allowed
from teams.admin.projects import actor
from teams.errors import ApiError
from teams.models import Project
from teams.roles import Action


class Offer(NamedTuple):
    """A kind of channel and its form fields."""

    kind: str
    label: str
    fields: list[BoundField]


class Outcome(NamedTuple):
    """The result of a test. `secret` is the new channel's generated secret, if its kind has one."""

    channel: Channel
    delivery: Delivery
    secret: str | None = None

    @property
    def reach(self) -> str:
        return message.reach_of(self.channel)


def urls() -> list[URLPattern]:
    """URLs under `/admin/`."""
    return [path("first-steps/alert/", admin.site.admin_view(first_alert), name="first_steps_alert")]


@require_http_methods(["GET", "POST"])
def first_alert(request: HttpRequest) -> HttpResponse:
    """The step: embedded by htmx in the page "Get started", and a separate page without JavaScript."""
    project = first_steps.project_of(request, (request.POST or request.GET).get("project"))
    if project is None:
        raise Http404("There is no project yet.")
    result = _post(request, project) if request.method == "POST" else {}
    template = "alerts/first_alert_step.html" if getattr(request, "htmx", False) else "alerts/first_alert.html"
    return TemplateResponse(request, template, {**_step(request, project), **result})


def _step(request: HttpRequest, project: Project) -> dict[str, Any]:
    return {
        **admin.site.each_context(request),
        "title": "Send a test alert",
        "project": project,
        "channels": project.channels.order_by("pk"),
        "offers": _offers(ChannelForm(initial={field_name(email.KIND, "to"): actor(request)})),
        "may_test": allowed(request, Action.OPERATE, project.team_id),
        "may_create": allowed(request, Action.CONFIGURE, project.team_id),
    }


def _offers(form: BaseChannelForm) -> list[Offer]:
    return [
        Offer(kind.KIND, kind.LABEL, [form[field_name(kind.KIND, name)] for name in settings_of(kind)])
        for kind in channels.ALL
    ]


def _post(request: HttpRequest, project: Project) -> dict[str, Any]:
    """Create a channel unless one is chosen, and send the test. Returns what the step shows about it."""
    chosen = request.POST.get("channel", "")
    if not allowed(request, Action.OPERATE if chosen else Action.CONFIGURE, project.team_id):
        raise PermissionDenied
    if chosen:
        channel = get_object_or_404(project.channels, pk=first_steps.number(chosen))
        return _tested(channel, actor(request))
    form = ChannelForm({**request.POST.dict(), "project": project.pk, "name": _name(request.POST.get("kind", ""))})
    if not form.is_valid():
        return {"offers": _offers(form), "errors": form.errors.get("kind")}
    return _create_and_test(project, form.cleaned_data, actor(request))


def _name(kind: str) -> str:
    """The channel's name until someone renames it."""
    return channels.BY_KIND[kind].LABEL if kind in channels.BY_KIND else kind


def _create_and_test(project: Project, entered: dict[str, Any], sender: str) -> dict[str, Any]:
    try:
        channel, secret = services.create_channel(
            project=project, kind=entered["kind"], name=entered["name"], config=entered["config"], actor=sender
        )
    except ApiError as error:
        return {"errors": [error.message]}
    return _tested(channel, sender, secret)


def _tested(channel: Channel, sender: str, secret: str | None = None) -> dict[str, Any]:
    try:
        delivery = services.send_test(channel=channel, actor=sender, now=timezone.now())
    except ApiError as error:
        return {"errors": [error.message]}
    return {"outcome": Outcome(channel, delivery, secret)}
