"""`/api/v1/incidents`: list, acknowledge and resolve incidents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agents.api import examples, schemas
from agents.api.project_view import ProjectView
from agents.api.validation import Moment, validated
from agents.incidents import actions, snoozes
from agents.models import Incident, Signal, SignalKind
from agents.reporting.payloads import incident_dict

IN_STATE = {
    Incident.State.OPEN.value: Q(resolved_at__isnull=True, acknowledged_at__isnull=True),
    Incident.State.ACKNOWLEDGED.value: Q(resolved_at__isnull=True, acknowledged_at__isnull=False),
    Incident.State.RESOLVED.value: Q(resolved_at__isnull=False),
}


class IncidentView(ProjectView):
    def incidents(self) -> QuerySet[Incident]:
        """The project's incidents, newest first, with everything `incident_dict` reads."""
        mine = Incident.objects.filter(project=self.caller.project_id).select_related("agent__state")
        return mine.prefetch_related("signals__agent", "events")


class IncidentsView(IncidentView):
    http_method_names = ["get"]

    @extend_schema(
        operation_id="incidents",
        summary="List incidents, newest first",
        tags=["incidents"],
        parameters=[
            OpenApiParameter("state", str, enum=list(IN_STATE)),
            OpenApiParameter(
                "agent", str, description="An agent's ID or name. Includes incidents it shares with other agents."
            ),
            OpenApiParameter(
                "kind", str, enum=SignalKind.values, description="The kind of any of the incident's signals."
            ),
            schemas.LIMIT,
            schemas.OFFSET,
        ],
        responses=schemas.responses(200, schemas.page_of(schemas.IncidentDetail), 422),
        examples=[examples.INCIDENTS],
    )
    def get(self, request: Request) -> Response:
        incidents = self.incidents()
        state, kind = self.choice("state", list(IN_STATE)), self.choice("kind", SignalKind.values)
        if state:
            incidents = incidents.filter(IN_STATE[state])
        if kind:
            incidents = incidents.filter(Q(kind=kind) | Exists(_signals(kind=kind)))
        if (asked_for := self.agents_asked_for()) is not None:
            agents = list(asked_for.values_list("pk", flat=True))
            incidents = incidents.filter(Q(agent__in=agents) | Exists(_signals(agent__in=agents)))
        return self.page(incidents, incident_dict)


def _signals(**conditions: Any) -> QuerySet[Signal]:
    return Signal.objects.filter(incident=OuterRef("pk"), **conditions)


class OneIncidentView(IncidentView):
    http_method_names = ["get"]

    @extend_schema(
        operation_id="incident",
        summary="Get an incident",
        tags=["incidents"],
        responses=schemas.responses(200, schemas.IncidentDetail, 404),
        examples=[examples.INCIDENT],
    )
    def get(self, request: Request, pk: int) -> Response:
        return Response(incident_dict(self.get_or_404(self.incidents(), pk)))


class IncidentActionView(IncidentView):
    http_method_names = ["post"]
    scope_for = {"POST": "act", "DELETE": "act"}

    def act(self, action: Callable[..., object], pk: int) -> Response:
        """Call a service with the incident; respond with its new state."""
        action(incident=self.get_or_404(self.incidents(), pk), actor=self.caller.actor, now=timezone.now())
        return Response(incident_dict(self.get_or_404(self.incidents(), pk)))


class AcknowledgeView(IncidentActionView):
    @extend_schema(
        operation_id="acknowledge_incident",
        summary="Acknowledge an incident",
        tags=["incidents"],
        request=None,
        responses=schemas.responses(200, schemas.IncidentDetail, 404, 409),
        examples=[examples.INCIDENT],
    )
    def post(self, request: Request, pk: int) -> Response:
        return self.act(actions.acknowledge, pk)


class Snooze(serializers.Serializer[Any]):
    until = Moment(required=False, help_text="Within the next 7 days.")
    length = serializers.ChoiceField(
        snoozes.CHOICES, required=False, help_text="Instead of `until`. `morning`: the next 8:00 of the project."
    )


class SnoozeView(IncidentActionView):
    http_method_names = ["post", "delete"]

    @extend_schema(
        operation_id="snooze_incident",
        summary="Snooze an incident",
        description=(
            "Nobody is notified until then, not even of the recovery. Then a reminder is sent unless the incident was "
            "acknowledged or is resolved. A warning that becomes critical is not held back."
        ),
        tags=["incidents"],
        request=Snooze,
        responses=schemas.responses(200, schemas.IncidentDetail, 400, 404, 409, 415, 422),
        examples=[OpenApiExample("For two hours", {"length": "2h"}, request_only=True), examples.INCIDENT],
    )
    def post(self, request: Request, pk: int) -> Response:
        return self.act(partial(_snooze, validated(Snooze, request.data)), pk)

    @extend_schema(
        operation_id="end_snooze",
        summary="End the snooze of an incident",
        tags=["incidents"],
        request=None,
        responses=schemas.responses(200, schemas.IncidentDetail, 404),
        examples=[examples.INCIDENT],
    )
    def delete(self, request: Request, pk: int) -> Response:
        return self.act(snoozes.end, pk)


def _snooze(chosen: Mapping[str, Any], *, incident: Incident, actor: str, now: datetime) -> None:
    zone = incident.project.time_zone
    until = chosen.get("until") or snoozes.end_of(chosen.get("length", ""), now, zone)
    snoozes.snooze(incident=incident, until=until, actor=actor, now=now)


class ResolveView(IncidentActionView):
    @extend_schema(
        operation_id="resolve_incident",
        summary="Resolve an incident manually",
        tags=["incidents"],
        request=None,
        responses=schemas.responses(200, schemas.IncidentDetail, 404, 409),
        examples=[examples.INCIDENT],
    )
    def post(self, request: Request, pk: int) -> Response:
        return self.act(actions.resolve, pk)
