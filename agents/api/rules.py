"""`/api/v1/rules`: what the rules are and what the project sets of them; `/rules/try`: one tried on stored history."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agents import rules
from agents.api import examples, shapes
from agents.api.changes import RulesField
from agents.api.project import ProjectView
from agents.api.valid import invalid, valid
from agents.fleet import services
from agents.models import Agent, AgentName, SignalKind
from agents.reporting.payloads import agent_ref, incident_url, moment
from agents.review import backtest
from agents.review.backtest import Episode, Trial
from agents.rules import settings
from teams.errors import ApiError
from teams.models import Project

HOURS: Final = 24.0
MAX_HOURS: Final = 366 * 24


class RulesChanges(serializers.Serializer[Any]):
    """The project's `rules`, as a whole: what is left out goes back to the default."""

    rules = RulesField()


@extend_schema_field({"type": ["integer", "string"], "description": "Its id or its name. None: all agents."})
class AgentGiven(serializers.Field):  # type: ignore[type-arg]
    def to_internal_value(self, data: Any) -> int | str:
        if isinstance(data, bool) or not isinstance(data, int | str):
            raise serializers.ValidationError("must be an agent's id or name")
        return data


class Trying(serializers.Serializer[Any]):
    """`since`, or the last `hours`. `thresholds` go over what is set; an agent's own settings may be among them."""

    rule = serializers.CharField()
    agent = AgentGiven(required=False, allow_null=True)
    thresholds = serializers.DictField(required=False)
    hours = serializers.FloatField(required=False, min_value=0.01, max_value=MAX_HOURS)
    since = serializers.DateTimeField(required=False)

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        if "hours" in given and "since" in given:
            raise serializers.ValidationError({"since": "give either `since` or `hours`"})
        return given


class RulesView(ProjectView):
    http_method_names = ["get", "patch"]

    @extend_schema(
        operation_id="rules",
        summary="The rules, their thresholds, and what the project sets of them",
        tags=["rules"],
        responses=shapes.answers(200, shapes.Rules),
        examples=[examples.RULES],
    )
    def get(self, request: Request) -> Response:
        return self._shown()

    @extend_schema(
        operation_id="change_rules",
        summary="Set what the project's agents inherit",
        tags=["rules"],
        request=RulesChanges,
        responses=shapes.answers(200, shapes.Rules, 400, 415, 422),
        examples=[examples.SET_RULES, examples.RULES],
    )
    def patch(self, request: Request) -> Response:
        given, now = valid(RulesChanges, request.data)["rules"], timezone.now()
        services.change_project_rules(project=self._project(), given=given, actor=self.caller.actor, now=now)
        return self._shown()

    def _project(self) -> Project:
        return Project.objects.get(pk=self.caller.project_id)

    def _shown(self) -> Response:
        given = self._project().rules
        return Response({"rules": given, "known": [_rule_dict(rule, given) for rule in rules.every().values()]})


class TryView(ProjectView):
    http_method_names = ["post"]
    # It writes nothing.
    scope_for = {"POST": "read"}

    @extend_schema(
        operation_id="try_rule",
        summary="When a rule would have fired on stored heartbeats",
        description=f"At most {backtest.MAX_BEATS:,} heartbeats are read; the agents of a project share them.",
        tags=["rules"],
        request=Trying,
        responses=shapes.answers(200, shapes.Tried, 400, 404, 415, 422, 503),
        examples=[examples.TRYING, examples.TRIED],
    )
    def post(self, request: Request) -> Response:
        given, until = valid(Trying, request.data), timezone.now()
        rule, thresholds = backtest.wanted(given["rule"], given.get("thresholds", {}))
        since = _since(given, until)
        if given.get("agent") is None:
            project = Project.objects.get(pk=self.caller.project_id)
            found, left_out = backtest.of_project(project, rule, thresholds, since, until)
        else:
            found, left_out = [backtest.of_agent(self._agent(given["agent"]), rule, thresholds, since, until)], 0
        times = {"since": moment(since), "until": moment(until)}
        return Response({"rule": rule.KIND, **times, "agents": list(map(trial_dict, found)), "left_out": left_out})

    def _agent(self, given: int | str) -> Agent:
        names = AgentName.objects.filter(project=self.caller.project_id).select_related(
            "agent__project", "agent__state"
        )
        if isinstance(given, int):
            names = names.filter(agent=given) if 0 < given < 2**63 else names.none()
        else:
            names = names.filter(name=given) if "\0" not in given else names.none()
        name = names.first()
        if name is None:
            raise ApiError(404, "not_found", "This project has no such agent.")
        return name.agent


def _since(given: dict[str, Any], now: datetime) -> datetime:
    if "since" not in given:
        return now - timedelta(hours=given.get("hours", HOURS))
    since: datetime = given["since"]
    if since >= now:
        raise invalid("since", "must be in the past")
    return max(since, now - timedelta(hours=MAX_HOURS))


def trial_dict(trial: Trial) -> dict[str, Any]:
    return {
        "agent": agent_ref(trial.agent),
        "thresholds": trial.thresholds,
        "covered_from": moment(trial.covered_from),
        "why": trial.why or None,
        "note": trial.note or None,
        "heartbeats": trial.heartbeats,
        "learned_from": trial.before,
        "findings": [episode_dict(one, trial.until) for one in trial.episodes],
        "incidents": [
            {
                "incident": signal.incident_id,
                "url": incident_url(signal.incident_id),
                "kind": signal.kind,
                "severity": signal.severity,
                "reason": signal.reason,
                "started_at": moment(signal.started_at),
                "opened_at": moment(signal.opened_at),
                "cleared_at": moment(signal.cleared_at),
            }
            for signal in trial.real
        ],
    }


def episode_dict(one: Episode, until: datetime) -> dict[str, Any]:
    found = one.finding
    return {
        "kind": SignalKind(found.kind).value,
        "severity": found.severity,
        "reason": found.reason,
        "evidence": found.evidence,
        "started_at": moment(found.started_at),
        "fired_at": moment(one.fired_at),
        "over_at": moment(one.over_at),
        "seconds": round(((one.over_at or until) - one.fired_at).total_seconds(), 3),
    }


def _rule_dict(rule: rules.Rule, given: settings.Given) -> dict[str, Any]:
    armed = rules.in_force(rule, given)
    return {
        "rule": rule.KIND,
        "label": rule.LABEL,
        "on": armed.on,
        "on_by_default": rules.in_force(rule).on,
        "thresholds": [
            {
                "name": one.name,
                "type": {int: "integer", float: "number", bool: "boolean"}[one.kind],
                "default": one.default,
                "unit": one.unit,
                "minimum": one.minimum,
                "maximum": one.maximum,
                "why": one.why,
                "set_on": "agent" if one.column else "rules",
            }
            for one in rule.THRESHOLDS
        ],
    }
