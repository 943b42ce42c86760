"""`/api/v1/keys`: manage a project's API keys."""

from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from django.urls import path
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from teams import networks, services
from teams.auth import Caller
from teams.models import ApiKey, Project, Scope

MAX_OVERLAP = timedelta(days=30)


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Describes the API key in the OpenAPI schema."""

    target_class = "teams.auth.ApiKeyAuthentication"
    name = "ApiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "header", "name": "X-API-Key"}


def caller_of(request: Request) -> Caller:
    """The authenticated caller of a view."""
    if not isinstance(request.auth, Caller):
        raise TypeError("a view without ApiKeyAuthentication has no caller")
    return request.auth


class NetworksField(serializers.ListField):
    """Addresses and networks, in their usual form."""

    child = serializers.CharField(max_length=50)

    def to_internal_value(self, data: Any) -> list[str]:
        try:
            return networks.checked(super().to_internal_value(data))
        except ValueError as error:
            raise serializers.ValidationError(str(error)) from None


class KeySerializer(serializers.ModelSerializer[ApiKey]):
    agent = serializers.CharField(
        max_length=200,
        required=False,
        allow_blank=True,
        help_text="The only agent the key may report as; it then sees no other status. Empty: any.",
    )
    allowed_networks = NetworksField(
        required=False, help_text="Where the key may be used, such as 10.0.0.0/8 or 2001:db8::/32. Empty: everywhere."
    )
    new_agents_per_hour = serializers.IntegerField(
        min_value=0,
        max_value=services.MAX_NEW_AGENTS,
        required=False,
        help_text="How many agents it may create per hour.",
    )
    expires_at = serializers.DateTimeField(
        required=False, allow_null=True, help_text="Until when the key works; null: until it is revoked."
    )

    class Meta:
        model = ApiKey
        fields = [
            *("id", "name", "scope", "prefix", "agent", "allowed_networks", "new_agents_per_hour"),
            *("created_at", "last_used_at", "last_used_address", "expires_at", "revoked_at"),
        ]
        read_only_fields = ["prefix", "created_at", "last_used_at", "last_used_address", "revoked_at"]


class KeyChangesSerializer(KeySerializer):
    """What can be changed of a key."""

    class Meta(KeySerializer.Meta):
        fields = [*services.CHANGEABLE]


class NewKeySerializer(KeySerializer):
    """With the plain text, only in the response that creates the key."""

    api_key = serializers.CharField(read_only=True)

    class Meta(KeySerializer.Meta):
        fields = [*KeySerializer.Meta.fields, "api_key"]


class RotateSerializer(serializers.Serializer[Any]):
    overlap = serializers.IntegerField(
        min_value=0,
        max_value=int(MAX_OVERLAP.total_seconds()),
        default=24 * 3600,
        help_text="Seconds for which the old key keeps working.",
    )


_KEY = {
    "id": 3,
    "name": "production agents",
    "scope": "agent",
    "prefix": "cv_x4Tq8Lm2",
    "agent": "",
    "allowed_networks": ["10.0.0.0/8"],
    "new_agents_per_hour": 2000,
    "created_at": "2026-11-01T08:00:00Z",
    "last_used_at": "2026-11-23T20:25:00Z",
    "last_used_address": "10.0.4.17",
    "expires_at": None,
    "revoked_at": None,
}
KEY = OpenApiExample("The key", _KEY, response_only=True, status_codes=["200"])
CREATED = OpenApiExample(
    "With its plain text, only in this response",
    {**_KEY, "last_used_at": None, "last_used_address": "", "api_key": "cv_x4Tq8Lm2…"},
    response_only=True,
    status_codes=["201"],
)
CREATE = OpenApiExample("For a fleet", {"name": "production agents", "scope": "agent"}, request_only=True)
CHANGE = OpenApiExample("Only from the office", {"allowed_networks": ["192.0.2.0/24"]}, request_only=True)
OVERLAP = OpenApiExample("One day of overlap", {"overlap": 86_400}, request_only=True)


def _with_plain_text(key: ApiKey, raw: str) -> dict[str, Any]:
    return {**KeySerializer(key).data, "api_key": raw}


class Keys(GenericAPIView[ApiKey]):
    """The project's keys, newest first; POST creates one."""

    serializer_class = KeySerializer

    def get_queryset(self) -> QuerySet[ApiKey]:
        return ApiKey.objects.filter(project_id=caller_of(self.request).project_id).order_by("-id")

    @extend_schema(
        operation_id="keys_list",
        summary="List API keys, newest first",
        responses=KeySerializer(many=True),
        examples=[KEY],
    )
    def get(self, request: Request) -> Response:
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    @extend_schema(
        operation_id="keys_create",
        summary="Create a key",
        responses={201: NewKeySerializer},
        examples=[CREATE, CREATED],
    )
    def post(self, request: Request) -> Response:
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        caller, chosen = caller_of(request), dict(serializer.validated_data)
        key, raw = services.issue_key(
            project=Project.objects.get(pk=caller.project_id),
            name=chosen.pop("name", "default"),
            scope=chosen.pop("scope", Scope.AGENT.value),
            actor=caller.actor,
            limits=services.KeyLimits(**chosen),
        )
        return Response(_with_plain_text(key, raw), status=status.HTTP_201_CREATED)


def _key(request: Request, key_id: int) -> ApiKey:
    return get_object_or_404(ApiKey, pk=key_id, project_id=caller_of(request).project_id)


class Key(APIView):
    """One key; PATCH changes its name and limits, DELETE revokes it."""

    @extend_schema(operation_id="keys_read", summary="Get a key", responses=KeySerializer, examples=[KEY])
    def get(self, request: Request, key_id: int) -> Response:
        return Response(KeySerializer(_key(request, key_id)).data)

    @extend_schema(
        operation_id="keys_change",
        summary="Change a key's name, networks, expiry or rate of new agents",
        request=KeyChangesSerializer,
        responses=KeySerializer,
        examples=[CHANGE, KEY],
    )
    def patch(self, request: Request, key_id: int) -> Response:
        serializer = KeyChangesSerializer(data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        caller, key = caller_of(request), _key(request, key_id)
        changed = services.change_key(
            key=key, changes=serializer.validated_data, actor=caller.actor, now=timezone.now()
        )
        return Response(KeySerializer(changed).data)

    @extend_schema(
        operation_id="keys_revoke", summary="Revoke a key", responses={204: OpenApiResponse(description="Revoked.")}
    )
    def delete(self, request: Request, key_id: int) -> Response:
        services.revoke_key(key=_key(request, key_id), actor=caller_of(request).actor, now=timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)


class Rotate(APIView):
    """Create a successor of a key; the old key keeps working for `overlap` seconds."""

    @extend_schema(
        operation_id="keys_rotate",
        summary="Rotate a key",
        request=RotateSerializer,
        responses={201: NewKeySerializer},
        examples=[OVERLAP, CREATED],
    )
    def post(self, request: Request, key_id: int) -> Response:
        serializer = RotateSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        key, raw = services.rotate_key(
            key=_key(request, key_id),
            overlap=timedelta(seconds=serializer.validated_data["overlap"]),
            actor=caller_of(request).actor,
            now=timezone.now(),
        )
        return Response(_with_plain_text(key, raw), status=status.HTTP_201_CREATED)


urlpatterns = [
    path("keys", Keys.as_view(), name="keys"),
    path("keys/<int:key_id>", Key.as_view(), name="key"),
    path("keys/<int:key_id>/rotate", Rotate.as_view(), name="key_rotate"),
]
