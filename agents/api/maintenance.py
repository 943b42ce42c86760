"""`/api/v1/maintenance`: planned periods in which agents are not evaluated."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agents.api import schemas
from agents.api.project_view import ProjectView
from agents.api.validation import Moment, validated
from agents.fleet import maintenance
from agents.models import Maintenance
from agents.reporting.payloads import moment
from teams.models import Project

_LABELS_HELP = "Only agents with all of these labels. Empty: all agents of the project."
_AGENTS_HELP = "Only these agents, by name or alias. Empty: all agents of the project."


class NewMaintenance(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=200)
    starts_at = Moment(required=False, help_text="Default: now.")
    ends_at = Moment()
    labels = serializers.DictField(child=serializers.CharField(max_length=200), required=False, help_text=_LABELS_HELP)
    agents = serializers.ListField(
        child=serializers.CharField(max_length=200), max_length=10_000, required=False, help_text=_AGENTS_HELP
    )


class MaintenanceWindow(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    reason = serializers.CharField()
    starts_at = serializers.DateTimeField()
    ends_at = serializers.DateTimeField()
    labels = serializers.DictField(child=serializers.CharField(), help_text=_LABELS_HELP)
    agents = serializers.ListField(
        child=serializers.CharField(), help_text="Agent names. Empty: all agents of the project."
    )
    created_by = serializers.CharField()
    opened_at = serializers.DateTimeField(allow_null=True, help_text="When it started; null if it has not.")
    closed_at = serializers.DateTimeField(allow_null=True, help_text="When it ended; null if it has not.")


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
_NEW_WINDOW = {name: _WINDOW[name] for name in ("reason", "starts_at", "ends_at", "labels")}
NEW_EXAMPLE = OpenApiExample("Two hours on one host", _NEW_WINDOW, request_only=True)
CREATED_EXAMPLE = OpenApiExample("Scheduled", _WINDOW, response_only=True, status_codes=["201"])
ONE_EXAMPLE = OpenApiExample("Maintenance window", _WINDOW, response_only=True, status_codes=["200"])
LIST_EXAMPLE = OpenApiExample(
    "One window",
    {"count": 1, "next": None, "previous": None, "results": [_WINDOW]},
    response_only=True,
    status_codes=["200"],
)


def window_dict(window: Maintenance) -> dict[str, Any]:
    """A maintenance window as JSON."""
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
        summary="List maintenance windows, latest first",
        tags=["maintenance"],
        parameters=[schemas.LIMIT, schemas.OFFSET],
        responses=schemas.responses(200, schemas.page_of(MaintenanceWindow), 422),
        examples=[LIST_EXAMPLE],
    )
    def get(self, request: Request) -> Response:
        return self.page(self.windows(), window_dict)

    @extend_schema(
        operation_id="plan_maintenance",
        summary="Schedule maintenance",
        tags=["maintenance"],
        request=NewMaintenance,
        responses=schemas.responses(201, MaintenanceWindow, 400, 415, 422),
        examples=[NEW_EXAMPLE, CREATED_EXAMPLE],
    )
    def post(self, request: Request) -> Response:
        now, window_data = timezone.now(), validated(NewMaintenance, request.data)
        project = Project.objects.select_related("team").get(pk=self.caller.project_id)
        defaults = {"starts_at": now, "labels": {}}
        window = maintenance.schedule(project=project, actor=self.caller.actor, now=now, **{**defaults, **window_data})
        return Response(window_dict(window), status=201)


class OneWindowView(WindowView):
    http_method_names = ["get", "delete"]

    @extend_schema(
        operation_id="maintenance_window",
        summary="Get a maintenance window",
        tags=["maintenance"],
        responses=schemas.responses(200, MaintenanceWindow, 404),
        examples=[ONE_EXAMPLE],
    )
    def get(self, request: Request, pk: int) -> Response:
        return Response(window_dict(self.get_or_404(self.windows(), pk)))

    @extend_schema(
        operation_id="end_maintenance",
        summary="End or cancel maintenance",
        description="The window stays in the list as ended.",
        tags=["maintenance"],
        responses=schemas.responses(204, None, 404),
    )
    def delete(self, request: Request, pk: int) -> Response:
        window = self.get_or_404(self.windows(), pk)
        maintenance.end(window=window, actor=self.caller.actor, now=timezone.now())
        return Response(status=204)
