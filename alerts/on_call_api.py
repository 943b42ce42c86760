"""`/api/v1/on-call`: the rotations of a project, who is on call, and the calendar feed of each."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from drf_spectacular.utils import OpenApiExample, extend_schema
from icalendar import Calendar, Event
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agents.api import schemas
from agents.api.project_view import ProjectView
from agents.reporting.payloads import moment
from alerts import on_call, rotations
from alerts.models import OnCall
from teams.models import Project, Scope
from teams.views import refusals_as_page

# What a feed shows. Calendars ask again and again, so it need not go further.
PAST: Final = timedelta(days=7)
AHEAD: Final = timedelta(days=60)
_ROTATION: Final = {
    "zone": "Europe/Berlin",
    "layers": [{"people": ["ann@example.com", "ben@example.com"], "first": "2026-11-02", "at": "09:00", "days": 7}],
    "overrides": [{"person": "cy@example.com", "from": "2026-11-24T17:00:00Z", "to": "2026-11-25T08:00:00Z"}],
}
_DETAIL: Final = {
    "name": "Primary",
    **_ROTATION,
    "on_call": "ann@example.com",
    "until": "2026-11-30T08:00:00Z",
    "feed_url": "https://watchdog.example.com/alerts/on-call/….ics",
}


class RotationBody(serializers.Serializer[Any]):
    zone = serializers.CharField(help_text="The time zone of hand-overs.")
    layers = serializers.ListField(child=serializers.DictField(), help_text="A later layer goes before earlier ones.")
    overrides = serializers.ListField(child=serializers.DictField(), required=False)


class RotationDetail(RotationBody):
    name = serializers.CharField()
    on_call = serializers.CharField(help_text="Who is on call now; empty for nobody.")
    until = serializers.DateTimeField(allow_null=True, help_text="The next hand-over within 60 days.")
    feed_url = serializers.CharField(
        allow_null=True, help_text="An iCalendar feed for whoever knows its address. Only for keys with the scope full."
    )


ONE = OpenApiExample("Rotation", _DETAIL, response_only=True, status_codes=["200"])
LIST = OpenApiExample(
    "One rotation",
    {"count": 1, "next": None, "previous": None, "results": [_DETAIL]},
    response_only=True,
    status_codes=["200"],
)
NEW = OpenApiExample("Weekly, with an override", _ROTATION, request_only=True)


def rotation_dict(row: OnCall, *, with_feed: bool) -> dict[str, Any]:
    """A rotation, and who is on call now. The feed's address works for longer than the key that asks."""
    now = timezone.now()
    rotation = on_call.rotation_of(row)
    person = rotations.on_call(rotation, now)
    ahead = rotations.shifts(rotation, now, now + AHEAD) if person else []
    return {
        "name": row.name,
        "overrides": [],
        **row.rotation,
        "on_call": person,
        "until": moment(ahead[0].end) if ahead and ahead[0].end < now + AHEAD else None,
        "feed_url": on_call.feed_url(row) if with_feed else None,
    }


class _OnCallView(ProjectView):
    def shown(self, row: OnCall) -> dict[str, Any]:
        return rotation_dict(row, with_feed=self.caller.scope == Scope.FULL)


class RotationsView(_OnCallView):
    http_method_names = ["get"]

    @extend_schema(
        operation_id="rotations",
        summary="List on-call rotations, each with who is on call",
        tags=["on-call"],
        parameters=[schemas.LIMIT, schemas.OFFSET],
        responses=schemas.responses(200, schemas.page_of(RotationDetail), 422),
        examples=[LIST],
    )
    def get(self, request: Request) -> Response:
        return self.page(OnCall.objects.filter(project=self.caller.project_id), self.shown)


class RotationView(_OnCallView):
    http_method_names = ["get", "put", "delete"]

    @extend_schema(
        operation_id="rotation",
        summary="Get an on-call rotation and who is on call",
        tags=["on-call"],
        responses=schemas.responses(200, RotationDetail, 404),
        examples=[ONE],
    )
    def get(self, request: Request, name: str) -> Response:
        return Response(self.shown(on_call.find(self.caller.project_id, name)))

    @extend_schema(
        operation_id="replace_rotation",
        summary="Create or replace an on-call rotation",
        description="Idempotent.",
        tags=["on-call"],
        request=RotationBody,
        responses=schemas.responses(200, RotationDetail, 400, 404, 415, 422),
        examples=[NEW, ONE],
    )
    def put(self, request: Request, name: str) -> Response:
        project = Project.objects.select_related("team").get(pk=self.caller.project_id)
        row = on_call.save(project=project, name=name, data=request.data, actor=self.caller.actor)
        return Response(self.shown(row))

    @extend_schema(
        operation_id="delete_rotation",
        summary="Delete an on-call rotation",
        tags=["on-call"],
        responses=schemas.responses(204, None, 404),
    )
    def delete(self, request: Request, name: str) -> Response:
        on_call.delete(row=on_call.find(self.caller.project_id, name), actor=self.caller.actor)
        return Response(status=204)


@require_safe
@never_cache
@refusals_as_page
def feed(request: HttpRequest, token: str) -> HttpResponse:
    """The shifts of a rotation as iCalendar."""
    row, now = on_call.of_feed(token), timezone.now()
    calendar = Calendar()
    calendar.add("prodid", "-//ClevAgent Watchdog//On call//EN")
    calendar.add("version", "2.0")
    calendar.add("x-wr-calname", f"On call: {row.name}")
    for shift in rotations.shifts(on_call.rotation_of(row), now - PAST, now + AHEAD):
        calendar.add_component(_event(row, shift))
    return HttpResponse(calendar.to_ical(), content_type="text/calendar; charset=utf-8")


def _event(row: OnCall, shift: rotations.Shift) -> Event:
    event = Event()
    event.add("uid", f"{row.pk}-{shift.start:%Y%m%dT%H%M%S}@clevagent-watchdog")
    event.add("dtstamp", shift.start)
    event.add("dtstart", shift.start)
    event.add("dtend", shift.end)
    event.add("summary", f"{shift.person} is on call ({row.name})")
    return event


urlpatterns = [
    path("on-call", RotationsView.as_view(), name="api_rotations"),
    path("on-call/<str:name>", RotationView.as_view(), name="api_rotation"),
]
feed_patterns = [path("on-call/<str:token>.ics", feed, name="on_call_feed")]
