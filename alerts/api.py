"""`/api/v1/channels` and `/api/v1/deliveries`: a project's channels and the notification log."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.urls import path
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agents.api import schemas
from agents.api.project_view import ProjectView
from agents.api.validation import validated
from agents.models import Severity
from agents.reporting.payloads import moment
from alerts import channels, services
from alerts.models import Channel, Delivery
from teams.models import Project

_CONFIG_HELP = (
    'Depends on `kind`: `{"to": ["ops@example.com"]}` for email, `{"url": "https://…"}` for slack, discord, teams, '
    "googlechat, mattermost, rocketchat, alertmanager and webhook; "
    '`{"url": "https://…", "token": "…"}` for gotify, with `"room": "!abc:example.com"` for matrix; '
    '`{"token": "…", "user": "…"}` for pushover; `{"key": "…"}` for pagerduty and opsgenie.'
)
_SEVERITY_HELP = "The lowest severity it receives."
_LABELS_HELP = "It receives only alerts for agents with all of these labels."


class Route(serializers.Serializer[Any]):
    """Which of the project's alerts a channel receives."""

    severity = serializers.ChoiceField(Severity.choices, required=False, help_text=_SEVERITY_HELP)
    labels = serializers.DictField(child=serializers.CharField(max_length=200), required=False, help_text=_LABELS_HELP)


class NewChannel(Route):
    kind = serializers.ChoiceField([kind.KIND for kind in channels.ALL])
    name = serializers.CharField(max_length=100)
    config = serializers.DictField(help_text=_CONFIG_HELP)


class ChannelChanges(Route):
    name = serializers.CharField(max_length=100, required=False)
    config = serializers.DictField(required=False, help_text=f"{_CONFIG_HELP} Missing settings stay as they are.")
    enabled = serializers.BooleanField(required=False)


class ChannelDetail(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    kind = serializers.ChoiceField([kind.KIND for kind in channels.ALL])
    name = serializers.CharField()
    config = serializers.DictField(help_text="Secrets are omitted or shortened.")
    enabled = serializers.BooleanField()
    severity = serializers.ChoiceField(Severity.choices, help_text=_SEVERITY_HELP)
    labels = serializers.DictField(child=serializers.CharField(), help_text=_LABELS_HELP)
    disabled_reason = serializers.CharField(help_text="Why it is disabled: the receiver's response, or by whom.")
    created_at = serializers.DateTimeField()
    last_sent_at = serializers.DateTimeField(allow_null=True)
    failing_since = serializers.DateTimeField(allow_null=True)
    last_error = serializers.CharField()
    refused = serializers.DictField(
        child=serializers.CharField(), help_text="Recipients that refuse messages, each with the error."
    )


class CreatedChannel(ChannelDetail):
    secret = serializers.CharField(
        required=False, help_text="Webhooks only: verifies signatures. Returned only once, here."
    )


class DeliveryChannel(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    kind = serializers.CharField()
    name = serializers.CharField()


class DeliveryDetail(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    message_id = serializers.CharField(help_text="Sent to webhooks as `webhook-id`.")
    channel = DeliveryChannel()
    recipient = serializers.CharField(
        help_text="One of the channel's recipients. Empty if it has none, and for a test."
    )
    event = serializers.CharField(help_text="The kind of the incident event, or `test`.")
    incident = serializers.IntegerField(allow_null=True)
    state = serializers.ChoiceField(Delivery.State.choices)
    attempts = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    next_try_at = serializers.DateTimeField(
        allow_null=True, help_text="While `pending`: the earliest time of the next attempt."
    )
    sent_at = serializers.DateTimeField(allow_null=True)
    last_error = serializers.CharField()


NEW_WEBHOOK = OpenApiExample(
    "Webhook",
    {"kind": "webhook", "name": "Our receiver", "config": {"url": "https://example.com/hooks/watchdog"}},
    request_only=True,
)
NEW_EMAIL = OpenApiExample(
    "E-mail", {"kind": "email", "name": "On call", "config": {"to": ["ops@example.com"]}}, request_only=True
)
_CHANNEL = {
    "id": 5,
    "kind": "webhook",
    "name": "Our receiver",
    "config": {"url": "https://example.com/hooks/watchdog"},
    "enabled": True,
    "severity": "warning",
    "labels": {},
    "disabled_reason": "",
    "created_at": "2026-11-01T08:00:00Z",
    "last_sent_at": "2026-11-23T20:26:01Z",
    "failing_since": None,
    "last_error": "",
    "refused": {},
}
_DELIVERY = {
    "id": 311,
    "message_id": "msg_2mXh7Vq9",
    "channel": {"id": 5, "kind": "webhook", "name": "Our receiver"},
    "recipient": "",
    "event": "opened",
    "incident": 204,
    "state": "sent",
    "attempts": 1,
    "created_at": "2026-11-23T20:26:00Z",
    "next_try_at": None,
    "sent_at": "2026-11-23T20:26:01Z",
    "last_error": "",
}
_PAGE = {"count": 1, "next": None, "previous": None}
CHANNEL = OpenApiExample("Channel", _CHANNEL, response_only=True, status_codes=["200"])
CREATED = OpenApiExample(
    "With its secret, returned once",
    {**_CHANNEL, "secret": "whsec_MfKQ9r8GKYqr"},
    response_only=True,
    status_codes=["201"],
)
CHANNELS = OpenApiExample("One channel", {**_PAGE, "results": [_CHANNEL]}, response_only=True, status_codes=["200"])
CHANGES = OpenApiExample("Disable", {"enabled": False}, request_only=True)
TESTED = OpenApiExample(
    "Sent", {**_DELIVERY, "event": "test", "incident": None}, response_only=True, status_codes=["200"]
)
DELIVERIES = OpenApiExample(
    "One notification", {**_PAGE, "results": [_DELIVERY]}, response_only=True, status_codes=["200"]
)


def channel_dict(channel: Channel) -> dict[str, Any]:
    """A channel as everyone in its team may see it."""
    return {
        "id": channel.pk,
        "kind": channel.kind,
        "name": channel.name,
        "config": channels.BY_KIND[channel.kind].public(channel.config),
        "enabled": channel.enabled,
        "severity": channel.severity,
        "labels": channel.labels,
        "disabled_reason": channel.disabled_reason,
        "created_at": moment(channel.created_at),
        "last_sent_at": moment(channel.last_sent_at),
        "failing_since": moment(channel.failing_since),
        "last_error": channel.last_error,
        "refused": channel.refused,
    }


def delivery_dict(delivery: Delivery) -> dict[str, Any]:
    """A delivery. Reads `channel` and `event`: select them."""
    event, channel = delivery.event, delivery.channel
    is_pending = delivery.state == Delivery.State.PENDING
    return {
        "id": delivery.pk,
        "message_id": delivery.message_id,
        "channel": {"id": channel.pk, "kind": channel.kind, "name": channel.name},
        "recipient": delivery.recipient,
        "event": event.kind if event else "test",
        "incident": event.incident_id if event else None,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "created_at": moment(delivery.created_at),
        "next_try_at": moment(delivery.next_try_at) if is_pending else None,
        "sent_at": moment(delivery.sent_at),
        "last_error": delivery.last_error,
    }


class ChannelView(ProjectView):
    def channels(self) -> QuerySet[Channel]:
        return Channel.objects.filter(project=self.caller.project_id).order_by("pk")


class ChannelsView(ChannelView):
    http_method_names = ["get", "post"]

    @extend_schema(
        operation_id="channels",
        summary="List channels",
        tags=["channels"],
        parameters=[schemas.LIMIT, schemas.OFFSET],
        responses=schemas.responses(200, schemas.page_of(ChannelDetail), 422),
        examples=[CHANNELS],
    )
    def get(self, request: Request) -> Response:
        return self.page(self.channels(), channel_dict)

    @extend_schema(
        operation_id="create_channel",
        summary="Add a channel",
        tags=["channels"],
        request=NewChannel,
        responses=schemas.responses(201, CreatedChannel, 400, 415, 422),
        examples=[NEW_WEBHOOK, NEW_EMAIL, CREATED],
    )
    def post(self, request: Request) -> Response:
        settings = validated(NewChannel, request.data)
        project = Project.objects.select_related("team").get(pk=self.caller.project_id)
        channel, secret = services.create_channel(project=project, actor=self.caller.actor, **settings)
        body = {**channel_dict(channel), **({"secret": secret} if secret else {})}
        return Response(body, status=201)


class ChannelDetailView(ChannelView):
    http_method_names = ["get", "patch", "delete"]

    @extend_schema(
        operation_id="channel",
        summary="Get a channel",
        tags=["channels"],
        responses=schemas.responses(200, ChannelDetail, 404),
        examples=[CHANNEL],
    )
    def get(self, request: Request, pk: int) -> Response:
        return Response(channel_dict(self.get_or_404(self.channels(), pk)))

    @extend_schema(
        operation_id="change_channel",
        summary="Change, enable or disable a channel",
        tags=["channels"],
        request=ChannelChanges,
        responses=schemas.responses(200, ChannelDetail, 400, 404, 415, 422),
        examples=[CHANGES, CHANNEL],
    )
    def patch(self, request: Request, pk: int) -> Response:
        channel = self.get_or_404(self.channels(), pk)
        changes = validated(ChannelChanges, request.data)
        changed = services.change_channel(channel=channel, actor=self.caller.actor, now=timezone.now(), **changes)
        return Response(channel_dict(changed))

    @extend_schema(
        operation_id="delete_channel",
        summary="Delete a channel and its notification log",
        tags=["channels"],
        responses=schemas.responses(204, None, 404),
    )
    def delete(self, request: Request, pk: int) -> Response:
        services.delete_channel(channel=self.get_or_404(self.channels(), pk), actor=self.caller.actor)
        return Response(status=204)


class TestView(ChannelView):
    http_method_names = ["post"]

    @extend_schema(
        operation_id="test_channel",
        summary="Send a test and return the result",
        description="Tries once, even if the channel is disabled. `state` is `sent`, or `failed` with `last_error`.",
        tags=["channels"],
        request=None,
        responses=schemas.responses(200, DeliveryDetail, 404),
        examples=[TESTED],
    )
    def post(self, request: Request, pk: int) -> Response:
        channel = self.get_or_404(self.channels(), pk)
        delivery = services.send_test(channel=channel, actor=self.caller.actor, now=timezone.now())
        return Response(delivery_dict(delivery))


class DeliveriesView(ProjectView):
    http_method_names = ["get"]

    @extend_schema(
        operation_id="deliveries",
        summary="List notifications, newest first",
        tags=["channels"],
        parameters=[schemas.AGENT, schemas.LIMIT, schemas.OFFSET],
        responses=schemas.responses(200, schemas.page_of(DeliveryDetail), 422),
        examples=[DELIVERIES],
    )
    def get(self, request: Request) -> Response:
        deliveries = Delivery.objects.filter(channel__project=self.caller.project_id).select_related("channel", "event")
        if (asked_for := self.agents_asked_for()) is not None:
            deliveries = deliveries.filter(event__incident__agent__in=asked_for.values("pk"))
        return self.page(deliveries, delivery_dict)


urlpatterns = [
    path("channels", ChannelsView.as_view(), name="api_channels"),
    path("channels/<int:pk>", ChannelDetailView.as_view(), name="api_channel"),
    path("channels/<int:pk>/test", TestView.as_view(), name="api_channel_test"),
    path("deliveries", DeliveriesView.as_view(), name="api_deliveries"),
]
