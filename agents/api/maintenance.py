"""`/api/v1/maintenance`: times in which the project's agents are left alone."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agents.api import shapes
from agents.api.project import ProjectView
from agents.api.valid import valid
from agents.fleet import maintenance
from agents.models import Maintenance
from agents.reporting.payloads import moment
from teams.models import Project

_LABELS_HELP = "Only agents that have all of these. Empty: all of the project."
_AGENTS_HELP = "Only these, by name or alias. Empty: all of the project."


class NewWindow(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=200)
    starts_at = serializers.DateTimeField(required=False, help_text="Now, where it is left out.")
    ends_at = serializers.DateTimeField()
    labels = serializers.DictField(child=serializers.CharField(max_length=200), required=False, help_text=_LABELS_HELP)
    agents = serializers.ListField(
        child=serializers.CharField(max_length=200), max_length=10_000, required=False, help_text=_AGENTS_HELP
    )


class Window(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    reason = serializers.CharField()
    starts_at = serializers.DateTimeField()
    ends_at = serializers.DateTimeField()
    labels = serializers.DictField(child=serializers.CharField(), help_text=_LABELS_HELP)
    agents = serializers.ListField(child=serializers.CharField(), help_text="Their names. Empty: all of the project.")
    created_by = serializers.CharField()
    opened_at = serializers.DateTimeField(allow_null=True, help_text="When it began; null: not yet.")
    closed_at = serializers.DateTimeField(allow_null=True, help_text="When it was over; null: not yet.")


_WINDOW = {
    "id": 3,
    "reason": "new disks",
    "starts_at": "2026-11-28T01:00:00Z",
    "ends_at": "2026-11-28T03:00:00Z",
    "labels": {"host": "worker-3"},
    "agents": [],
    "created_by": "key:cv_x4Tq8Lm2",
    "opened_at": None,
    "closed_at": None,
}
_GIVEN = {name: _WINDOW[name] for name in ("reason", "starts_at", "ends_at", "labels")}
NEW = OpenApiExample("A night on one host", _GIVEN, request_only=True)
MADE = OpenApiExample("Planned", _WINDOW, response_only=True, status_codes=["201"])
ONE = OpenApiExample("The window", _WINDOW, response_only=True, status_codes=["200"])
ALL = OpenApiExample(
    "One window",
    {"count": 1, "next": None, "previous": None, "results": [_WINDOW]},
    response_only=True,
    status_codes=["200"],
)


def window_dict(window: Maintenance) -> dict[str, Any]:
    """A window as anybody of its team may see it."""
    return {
        "id": window.pk,
        "reason": window.reason,
        "starts_at": moment(window.starts_at),
        "ends_at": moment(window.ends_at),
        "labels": window.labels,
        "agents": window.agent_names,
        "created_by": window.created_by,
        "opened_at": moment(window.opened_at),
        "closed_at": moment(window.closed_at),
    }


class WindowView(ProjectView):
    def windows(self) -> QuerySet[Maintenance]:
        return Maintenance.objects.filter(project=self.caller.project_id)


class WindowsView(WindowView):
    http_method_names = ["get", "post"]

    @extend_schema(
        operation_id="maintenance_windows",
        summary="Maintenance windows, the latest first",
        tags=["maintenance"],
        parameters=[shapes.LIMIT, shapes.OFFSET],
        responses=shapes.answers(200, shapes.page_of(Window), 422),
        examples=[ALL],
    )
    def get(self, request: Request) -> Response:
        return self.page(self.windows(), window_dict)

    @extend_schema(
        operation_id="plan_maintenance",
        summary="Leave agents alone for a time",
        tags=["maintenance"],
        request=NewWindow,
        responses=shapes.answers(201, Window, 400, 415, 422),
        examples=[NEW, MADE],
    )
    def post(self, request: Request) -> Response:
        now, given = timezone.now(), valid(NewWindow, request.data)
        project = Project.objects.select_related("team").get(pk=self.caller.project_id)
        given = {"starts_at": now, "labels": {}, **given}
        window = maintenance.schedule(project=project, actor=self.caller.actor, now=now, **given)
        return Response(window_dict(window), status=201)


class OneWindowView(WindowView):
    http_method_names = ["get", "delete"]

    @extend_schema(
        operation_id="maintenance_window",
        summary="One maintenance window",
        tags=["maintenance"],
        responses=shapes.answers(200, Window, 404),
        examples=[ONE],
    )
    def get(self, request: Request, pk: int) -> Response:
        return Response(window_dict(self.found(self.windows(), pk)))

    @extend_schema(
        operation_id="end_maintenance",
        summary="End it now, or call it off",
        description="It stays in the list, as over.",
        tags=["maintenance"],
        responses=shapes.answers(204, None, 404),
    )
    def delete(self, request: Request, pk: int) -> Response:
        window = self.found(self.windows(), pk)
        maintenance.end(window=window, actor=self.caller.actor, now=timezone.now())
        return Response(status=204)
