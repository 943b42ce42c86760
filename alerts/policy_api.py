"""`/api/v1/policy`: who is notified of the project's incidents, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from django.urls import path
from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agents.api import schemas
from agents.api.project_view import ProjectView
from agents.api.validation import invalid, validated
from agents.models import Agent, Severity, SignalKind
from agents.reporting.payloads import moment
from alerts import policies, policy_changes
from alerts.policies import Rule
from alerts.policy_preview import preview
from teams.errors import ApiError
from teams.models import Project

_RULES: Final = [
    {
        "name": "Production",
        "match": {"severity": "critical", "labels": {"env": "production"}},
        "steps": [
            {"channels": ["Ops chat"], "people": ["ann@example.com"], "repeat": 15, "times": 3},
            {"people": ["ben@example.com"], "after": 30},
        ],
    }
]
_SENTENCES: Final = [
    "For critical alerts of agents with env=production: notify Ops chat and ann@example.com at once, every 15 min, "
    "3 times in all.",
    "If nobody has acknowledged it after 30 min, notify ben@example.com.",
]


class PolicyBody(serializers.Serializer[Any]):
    rules = serializers.ListField(
        child=serializers.DictField(),
        max_length=policies.MAX_RULES,
        help_text="The first rule that applies decides. See the documentation of channels for their fields.",
    )


class RuleDetail(serializers.Serializer[Any]):
    name = serializers.CharField()
    match = serializers.DictField()
    steps = serializers.ListField(child=serializers.DictField())
    sentences = serializers.ListField(child=serializers.CharField(), help_text="The rule in English.")


class PolicyDetail(serializers.Serializer[Any]):
    rules = RuleDetail(many=True)
    problems = serializers.ListField(
        child=serializers.CharField(), help_text="Channels and people that it names and the project doesn't have."
    )


class PlannedNotice(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    notify = serializers.ListField(child=serializers.CharField())
    why = serializers.CharField()


class PolicyPreview(serializers.Serializer[Any]):
    notifications = PlannedNotice(many=True, help_text="Empty if no rule applies: then alert routing decides.")


POLICY = OpenApiExample(
    "Policy",
    {"rules": [{**_RULES[0], "sentences": _SENTENCES}], "problems": []},
    response_only=True,
    status_codes=["200"],
)
NEW_POLICY = OpenApiExample("One rule with two steps", {"rules": _RULES}, request_only=True)
PREVIEW = OpenApiExample(
    "Two steps",
    {
        "notifications": [
            {"at": "2026-11-23T20:25:57Z", "notify": ["Ops chat"], "why": "Step 1 of “Production”"},
            {"at": "2026-11-23T20:55:57Z", "notify": ["ben@example.com"], "why": "Step 2 of “Production”"},
        ]
    },
    response_only=True,
    status_codes=["200"],
)
DRY_RUN = OpenApiParameter("dry_run", bool, description="`true`: validate and describe it, save nothing.")


def policy_dict(project: Project, rules: Sequence[Rule]) -> dict[str, Any]:
    """A policy with its sentences."""
    shown = [{**msgspec.to_builtins(rule), "sentences": policies.sentences(rule)} for rule in rules]
    return {"rules": shown, "problems": policy_changes.problems(project, rules)}


class PolicyView(ProjectView):
    http_method_names = ["get", "put", "delete"]

    def project(self) -> Project:
        return Project.objects.select_related("team").get(pk=self.caller.project_id)

    @extend_schema(
        operation_id="policy",
        summary="Get the notification policy",
        tags=["policy"],
        responses=schemas.responses(200, PolicyDetail),
        examples=[POLICY],
    )
    def get(self, request: Request) -> Response:
        project = self.project()
        return Response(policy_dict(project, policy_changes.rules_of(project)))

    @extend_schema(
        operation_id="replace_policy",
        summary="Replace the notification policy",
        description="Idempotent. Incidents that are open keep the rule they have. No rules: the same as DELETE.",
        tags=["policy"],
        parameters=[DRY_RUN],
        request=PolicyBody,
        responses=schemas.responses(200, PolicyDetail, 400, 415, 422),
        examples=[NEW_POLICY, POLICY],
    )
    def put(self, request: Request) -> Response:
        project, data = self.project(), validated(PolicyBody, request.data)["rules"]
        if self.choice("dry_run", ["true", "false"]) == "true":
            return Response(policy_dict(project, policy_changes.check(project, data)))
        rules = policy_changes.save(project=project, data=data, actor=self.caller.actor, now=timezone.now())
        return Response(policy_dict(project, rules))

    @extend_schema(
        operation_id="delete_policy",
        summary="Delete the notification policy",
        description="Alert routing decides again, and nothing escalates.",
        tags=["policy"],
        responses=schemas.responses(204, None),
    )
    def delete(self, request: Request) -> Response:
        policy_changes.delete(project=self.project(), actor=self.caller.actor)
        return Response(status=204)


class PreviewView(ProjectView):
    http_method_names = ["get"]

    @extend_schema(
        operation_id="policy_preview",
        summary="Who would be notified if an agent had a problem now",
        tags=["policy"],
        parameters=[
            OpenApiParameter("agent", str, required=True, description="The agent's name."),
            OpenApiParameter("kind", str, enum=SignalKind.values, description="Default: `stalled`."),
            OpenApiParameter("severity", str, enum=Severity.values, description="Default: `critical`."),
        ],
        responses=schemas.responses(200, PolicyPreview, 404, 422),
        examples=[PREVIEW],
    )
    def get(self, request: Request) -> Response:
        kind = self.choice("kind", SignalKind.values) or SignalKind.STALLED.value
        severity = self.choice("severity", Severity.values) or Severity.CRITICAL.value
        agent = self._agent()
        found = preview(policy_changes.rules_of(agent.project), agent, kind, severity, timezone.now())
        shown = [{"at": moment(each.at), "notify": list(each.targets), "why": each.why} for each in found]
        return Response({"notifications": shown})

    def _agent(self) -> Agent:
        name = self.request.query_params.get("agent", "")
        if not name:
            raise invalid("agent", "is required")
        own = Agent.objects.filter(project=self.caller.project_id, names__name=name).select_related("project").first()
        if own is None:
            raise ApiError(404, "not_found", "This project has no agent with that name.")
        return own


urlpatterns = [
    path("policy", PolicyView.as_view(), name="api_policy"),
    path("policy/preview", PreviewView.as_view(), name="api_policy_preview"),
]
