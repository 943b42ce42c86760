"""`GET /api/v1/events`. Served by the lane in `lane.py`; this view is for servers without it, and documents both."""

from __future__ import annotations

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request

from agents.api import schemas
from agents.api.project_view import ProjectView
from agents.api.stream import feed

CONTENT_TYPE = "text/event-stream"
_EXAMPLE = """id: 4711
event: incident.opened
data: {"agent": {"id": 17, "name": "research-agent"}, "incident": {"id": 3, "kind": "stalled", "state": "open"}}
"""


class _AnyFormat(BaseContentNegotiation):
    # Clients ask for text/event-stream, which no renderer of DRF gives; errors are JSON.

    def select_parser(self, request, parsers):  # type: ignore[no-untyped-def]
        return parsers[0]

    def select_renderer(self, request, renderers, format_suffix=None):  # type: ignore[no-untyped-def]
        return renderers[0], renderers[0].media_type


class EventsView(ProjectView):
    http_method_names = ["get"]
    content_negotiation_class = _AnyFormat

    @extend_schema(
        operation_id="events",
        summary="Stream events",
        description=(
            "Server-sent events: `incident.opened`, `incident.updated`, `incident.acknowledged`, `incident.resolved`, "
            "`agent.status`, `command.requested` and the further steps of a command. The stream stays open, with a "
            "comment every 15 seconds. `Last-Event-ID` resumes it without loss or repetition for a day; after that, "
            "`stream.reset` comes first."
        ),
        tags=["events"],
        parameters=[
            schemas.AGENT,
            OpenApiParameter("Last-Event-ID", str, OpenApiParameter.HEADER, description="The last event received."),
        ],
        responses={
            (200, CONTENT_TYPE): OpenApiResponse(
                str, examples=[OpenApiExample("An incident", _EXAMPLE, media_type=CONTENT_TYPE)]
            )
        },
    )
    def get(self, request: Request) -> HttpResponse:
        wanted = feed.wanted(
            self.caller.project_id,
            request.query_params.get("agent", ""),
            request.headers.get("Last-Event-ID", ""),
        )
        last, text = feed.begin(wanted)
        text += feed.text_of(feed.page(wanted, last), wanted.agent_id)
        return HttpResponse(text.encode(), content_type=CONTENT_TYPE)
