"""The pages behind the personal links in messages. GET shows, POST acts: mail scanners follow links.

The link itself is the permission, and nobody else knows it. So there is no CSRF token, which mail programs and phones
that keep no cookies could not send.
"""

from __future__ import annotations

from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import View

from agents.commands import preflight
from agents.incidents import actions, snoozes
from alerts import links, services
from alerts.links import Holder
from teams import rate_limits
from teams.errors import ApiError
from teams.times import exact
from teams.views import refusals_as_page

LINK: Final[list[Any]] = [csrf_exempt, never_cache, refusals_as_page]


@method_decorator(LINK, name="dispatch")
class ActView(View):
    """An incident, with buttons that act as the person whom the link was sent to."""

    def get(self, request: HttpRequest, token: str) -> HttpResponse:
        return render(request, "alerts/act.html", _page(links.holder_of(token)))

    def post(self, request: HttpRequest, token: str) -> HttpResponse:
        holder = links.holder_of(token)
        _act(holder, request.POST.get("action", ""), request.POST.get("length", ""))
        return redirect("act", token)


@method_decorator(LINK, name="dispatch")
class LeaveView(View):
    """Takes an address out of a channel. Mail programs post here, too (RFC 8058)."""

    def get(self, request: HttpRequest, token: str) -> HttpResponse:
        channel, address = links.subscription_of(token)
        is_member = address in channel.config.get("to", []) and channel.enabled
        return render(request, "alerts/leave.html", {"channel": channel, "address": address, "is_member": is_member})

    def post(self, request: HttpRequest, token: str) -> HttpResponse:
        channel, address = links.subscription_of(token)
        services.leave(channel=channel, address=address, now=timezone.now())
        return redirect("leave_channel", token)


def _page(holder: Holder) -> dict[str, Any]:
    person, incident = holder
    now, zone = timezone.now(), snoozes.zone_of(person.time_zone)
    snoozed_until = incident.snoozed_until
    return {
        "person": person,
        "incident": incident,
        "started": exact(incident.started_at, zone),
        "snoozed_until": exact(snoozed_until, zone) if snoozed_until and snoozed_until > now else "",
        "lengths": snoozes.labels(now, person.time_zone),
        "has_target": preflight.target_of(incident.agent) is not None and not incident.together,
    }


def _act(holder: Holder, action: str, length: str) -> None:
    person, incident = holder
    now = timezone.now()
    if action == "acknowledge":
        actions.acknowledge(incident=incident, actor=person.email, now=now)
    elif action == "snooze":
        rate_limits.spend(rate_limits.NOTES, person.email, now)
        until = snoozes.end_of(length, now, person.time_zone)
        snoozes.snooze(incident=incident, until=until, actor=person.email, now=now)
    elif action == "unsnooze":
        snoozes.end(incident=incident, actor=person.email, now=now)
    else:
        raise ApiError(422, "invalid", "Choose what to do.")


urlpatterns = [
    path("act/<str:token>/", ActView.as_view(), name="act"),
    path("leave/<str:token>/", LeaveView.as_view(), name="leave_channel"),
]
