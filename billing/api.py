"""`GET /api/v1/usage`: what the plan allows and what is left of it."""

from typing import Any

from django.urls import path
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing import limits
from teams.api import caller_of


class ShareSerializer(serializers.Serializer[Any]):
    used = serializers.IntegerField()
    limit = serializers.IntegerField(allow_null=True, help_text="null: without limit")


class UsageSerializer(serializers.Serializer[Any]):
    plan = serializers.CharField()
    agents = ShareSerializer()
    members = ShareSerializer()
    projects = ShareSerializer()
    channels = ShareSerializer()
    requests_per_minute = serializers.IntegerField()
    history_days = serializers.IntegerField()


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
    },
    response_only=True,
)


class Usage(APIView):
    """Of the team whose key this is."""

    @extend_schema(
        operation_id="usage_read", summary="What the plan allows", responses=UsageSerializer, examples=[USAGE]
    )
    def get(self, request: Request) -> Response:
        usage = limits.usage_of(caller_of(request).team_id)
        shares = {what: {"used": used, "limit": limit} for what, used, limit in usage.rows()}
        plan = usage.plan
        more = {"requests_per_minute": plan.requests_per_minute, "history_days": plan.history_days}
        return Response({"plan": plan.key, **shares, **more})


urlpatterns = [path("usage", Usage.as_view(), name="usage")]
