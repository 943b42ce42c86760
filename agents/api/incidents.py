"""`/api/v1/incidents`: episodes, and what a person does about them."""

from __future__ import annotations

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from agents.api import examples, shapes
from agents.api.project import ProjectView
from agents.api.valid import invalid
from agents.incidents import actions
from agents.models import Incident, Signal, SignalKind
from agents.reporting.payloads import incident_dict

IN_STATE = {
    Incident.State.OPEN.value: Q(resolved_at__isnull=True, acknowledged_at__isnull=True),
    Incident.State.ACKNOWLEDGED.value: Q(resolved_at__isnull=True, acknowledged_at__isnull=False),
    Incident.State.RESOLVED.value: Q(resolved_at__isnull=False),
}


class IncidentView(ProjectView):
    def incidents(self) -> QuerySet[Incident]:
        """The project's, newest first, with all that their representation reads."""
        mine = Incident.objects.filter(project=self.caller.project_id).select_related("agent__state")
        return mine.prefetch_related("signals__agent", "events")


class IncidentsView(IncidentView):
    http_method_names = ["get"]

    @extend_schema(
        operation_id="incidents",
        summary="Incidents, newest first",
        tags=["incidents"],
        parameters=[
            OpenApiParameter("state", str, enum=list(IN_STATE)),
            OpenApiParameter("agent", int, description="An agent's id: its own, and those it is part of."),
            OpenApiParameter("kind", str, enum=SignalKind.values, description="Of any of its signals."),
            shapes.LIMIT,
            shapes.OFFSET,
        ],
        responses=shapes.answers(200, shapes.page_of(shapes.IncidentDetail), 422),
        examples=[examples.INCIDENTS],
    )
    def get(self, request: Request) -> Response:
        found = self.incidents()
        state, kind = self.choice("state", list(IN_STATE)), self.choice("kind", SignalKind.values)
        if state:
            found = found.filter(IN_STATE[state])
        if kind:
            found = found.filter(Q(kind=kind) | Exists(Signal.objects.filter(incident=OuterRef("pk"), kind=kind)))
        agent = self._agent_id()
        if agent is not None:
            found = found.filter(Q(agent=agent) | Exists(Signal.objects.filter(incident=OuterRef("pk"), agent=agent)))
        return self.page(found, incident_dict)

    def _agent_id(self) -> int | None:
        value = self.request.query_params.get("agent")
        if not value:
            return None
        if not (value.isascii() and value.isdigit()):
            raise invalid("agent", "must be an agent's id, a whole number")
        return int(value) if len(value) < 19 else 0  # longer than any id


class OneIncidentView(IncidentView):
    http_method_names = ["get"]

    @extend_schema(
        operation_id="incident",
        summary="One incident",
        tags=["incidents"],
        responses=shapes.answers(200, shapes.IncidentDetail, 404),
        examples=[examples.INCIDENT],
    )
    def get(self, request: Request, pk: int) -> Response:
        return Response(incident_dict(self.found(self.incidents(), pk)))


class AcknowledgeView(IncidentView):
    http_method_names = ["post"]

    @extend_schema(
        operation_id="acknowledge_incident",
        summary="Say that somebody is on it",
        tags=["incidents"],
        request=None,
        responses=shapes.answers(200, shapes.IncidentDetail, 404, 409),
        examples=[examples.INCIDENT],
    )
    def post(self, request: Request, pk: int) -> Response:
        incident = self.found(self.incidents(), pk)
        actions.acknowledge(incident=incident, actor=self.caller.actor, now=timezone.now())
        return Response(incident_dict(self.found(self.incidents(), pk)))


class ResolveView(IncidentView):
    http_method_names = ["post"]

    @extend_schema(
        operation_id="resolve_incident",
        summary="Close an incident by hand",
        tags=["incidents"],
        request=None,
        responses=shapes.answers(200, shapes.IncidentDetail, 404, 409),
        examples=[examples.INCIDENT],
    )
    def post(self, request: Request, pk: int) -> Response:
        incident = self.found(self.incidents(), pk)
        actions.resolve(incident=incident, actor=self.caller.actor, now=timezone.now())
        return Response(incident_dict(self.found(self.incidents(), pk)))
