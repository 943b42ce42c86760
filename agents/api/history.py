"""`/api/v1/agents/{id}/heartbeats` and `/timeline`, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from django.db.models import Q
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from agents.api import examples, schemas
from agents.api.agents import AgentView
from agents.domain.budgets import Spend
from agents.domain.redaction import redacted_in
from agents.models import Agent, Heartbeat, IncidentEvent, Outage, OutsideEvent
from agents.reporting.payloads import moment, spend_dict
from agents.storage import outage_log
from billing import limits
from teams.actors import WATCHDOG
from teams.drf import Pages


class HeartbeatsView(AgentView):
    http_method_names = ["get"]

    @extend_schema(
        operation_id="agent_heartbeats",
        summary="List an agent's heartbeats, newest first",
        tags=["agents"],
        parameters=[schemas.LIMIT, schemas.OFFSET],
        responses=schemas.responses(200, schemas.page_of(schemas.StoredHeartbeat), 404),
        examples=[examples.HEARTBEATS],
    )
    def get(self, request: Request, pk: int) -> Response:
        since = timezone.now() - limits.kept(self.caller.team_id)
        beats = Heartbeat.objects.filter(agent=self.agent(pk), day__gte=since.date(), received_at__gte=since)
        return self.page(beats.order_by("-id"), heartbeat_dict)


class TimelineView(AgentView):
    http_method_names = ["get"]

    @extend_schema(
        operation_id="agent_timeline",
        summary="List an agent's events, newest first",
        tags=["agents"],
        parameters=[schemas.LIMIT, schemas.OFFSET],
        responses=schemas.responses(200, schemas.page_of(schemas.TimelineEntry), 404),
        examples=[examples.TIMELINE],
    )
    def get(self, request: Request, pk: int) -> Response:
        pages = Pages()
        entries = pages.paginate_queryset(Timeline(self.agent(pk)), request, view=self)
        return pages.get_paginated_response(entries)


class Timeline(Sequence[dict[str, Any]]):
    """An agent's incident events, what webhooks told, and watchdog outages as one list; only the requested slice is
    read."""

    def __init__(self, agent: Agent) -> None:
        mine = Q(incident__agent=agent) | Q(incident__signals__agent=agent)
        self.events = IncidentEvent.objects.filter(mine).distinct().order_by("-at", "-id")
        about = Q(agent=agent.pk) | Q(agent=None)
        outside = OutsideEvent.objects.filter(about, project=agent.project_id).select_related("webhook")
        self.outside = outside.order_by("-began_at", "-id")
        self.outages = Outage.objects.filter(ended_at__gte=agent.created_at).order_by("-ended_at")

    def __len__(self) -> int:
        return self.events.count() + self.outside.count() + self.outages.count()

    def __getitem__(self, part: Any) -> Any:
        # Up to `stop` entries of either kind can be in the slice, so that many of each are enough.
        entries = chain(
            map(event_entry, self.events[: part.stop]),
            map(outside_entry, self.outside[: part.stop]),
            map(outage_entry, self.outages[: part.stop]),
        )
        return sorted(entries, key=lambda entry: entry["at"], reverse=True)[part]


def heartbeat_dict(beat: Heartbeat) -> dict[str, Any]:
    return {
        "id": beat.pk,
        "received_at": moment(beat.received_at),
        "beat_id": beat.beat_id,
        "status": beat.status,
        "progress": beat.progress,
        "tokens": beat.tokens,
        **spend_dict(Spend(beat.cost, beat.priced, beat.unpriced)),
        "tool_calls": beat.tool_calls,
        "iteration": beat.iteration,
        "memory_mb": beat.memory_mb,
        "content": redacted_in(beat.content),
    }


def event_entry(event: IncidentEvent) -> dict[str, Any]:
    return {
        "at": moment(event.at),
        "kind": event.kind,
        "text": event.text,
        "actor": event.actor,
        "incident": event.incident_id,
    }


def outside_entry(event: OutsideEvent) -> dict[str, Any]:
    return {
        "at": moment(event.began_at),
        "kind": event.kind,
        "text": event.text,
        "actor": event.webhook.get_kind_display(),
        "incident": None,
    }


def outage_entry(outage: Outage) -> dict[str, Any]:
    when = f"from {moment(outage.started_at)} to {moment(outage.ended_at)}"
    text = f"Watchdog ({outage.part}) was offline {when}."
    if outage.part == outage_log.OVERLOAD:
        text = f"Watchdog was slow {when}: heartbeats or reviews waited. Deadlines were extended."
    if outage.part == outage_log.EDGE:
        text += " Spend from that time may be missing: old clients drop data after two failed attempts."
    return {"at": moment(outage.ended_at), "kind": "outage", "text": text, "actor": WATCHDOG, "incident": None}
