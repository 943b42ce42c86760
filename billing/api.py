"""`GET /api/v1/usage`: the plan's limits and how much of them is used."""

from typing import Any, Final

from django.urls import path
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing import limits
from teams.api import caller_of

# Plan limits that are not counted.
UNCOUNTED_LIMITS: Final = ("requests_per_minute", "history_days", "shortest_interval")


class ShareSerializer(serializers.Serializer[Any]):
    used = serializers.IntegerField()
    limit = serializers.IntegerField(allow_null=True, help_text="`null` means unlimited.")


class UsageSerializer(serializers.Serializer[Any]):
    plan = serializers.CharField()
    agents = ShareSerializer()
    members = ShareSerializer()
    projects = ShareSerializer()
    channels = ShareSerializer()
    requests_per_minute = serializers.IntegerField()
    history_days = serializers.IntegerField()
    shortest_interval = serializers.FloatField(help_text="In seconds.")


USAGE = OpenApiExample(
    "On the Free plan",
    {
        "plan": "free",
        "agents": {"used": 2, "limit": 3},
        "members": {"used": 1, "limit": 3},
        "projects": {"used": 1, "limit": 3},
        "channels": {"used": 1, "limit": 3},
        "requests_per_minute": 200,
        "history_days": 7,
        "shortest_interval": 1,
    },
    response_only=True,
)


class Usage(APIView):
    """Usage of the team that owns the API key."""

    @extend_schema(
        operation_id="usage_read", summary="Show plan limits and usage", responses=UsageSerializer, examples=[USAGE]
    )
    def get(self, request: Request) -> Response:
        team_id = caller_of(request).team_id
        usage = limits.usage_of([team_id])[team_id]
        shares = {share.what: {"used": share.used, "limit": share.limit} for share in usage.shares}
        uncounted = {name: getattr(usage.plan, name) for name in UNCOUNTED_LIMITS}
        return Response({"plan": usage.plan.key, **shares, **uncounted})


urlpatterns = [path("usage", Usage.as_view(), name="usage")]
