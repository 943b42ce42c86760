"""`/api/v1/rules`: rules and the project's settings for them; `/rules/try`: backtests on stored heartbeats."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agents import rules
from agents.api import examples, schemas
from agents.api.changes import RulesField
from agents.api.project_view import ProjectView
from agents.api.validation import Moment, invalid, validated
from agents.fleet import services
from agents.models import Agent, AgentName, Signal, SignalKind
from agents.reporting.payloads import agent_ref, incident_url, moment
from agents.review import backtest
from agents.review.backtest import Trial
from agents.review.replay import Episode
from agents.rules import settings
from agents.rules.thresholds import Threshold
from teams.errors import ApiError
from teams.models import Project

DEFAULT_HOURS: Final = 24.0
MAX_HOURS: Final = 366 * 24


class RulesChanges(serializers.Serializer[Any]):
    """The project's `rules` as a whole: anything left out is reset to its default."""

    rules = RulesField()


@extend_schema_field({"type": ["integer", "string"], "description": "Id or name. Null: all agents."})
class AgentIdOrName(serializers.Field):  # type: ignore[type-arg]
    def to_internal_value(self, data: Any) -> int | str:
        if isinstance(data, bool) or not isinstance(data, int | str):
            raise serializers.ValidationError("must be an agent's id or name")
        return data


class Backtest(serializers.Serializer[Any]):
    """Either `since`, or the last `hours`. `thresholds` override current ones, including an agent's settings."""

    rule = serializers.CharField()
    agent = AgentIdOrName(required=False, allow_null=True)
    thresholds = serializers.DictField(required=False)
    hours = serializers.FloatField(required=False, min_value=0.01, max_value=MAX_HOURS)
    since = Moment(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "hours" in attrs and "since" in attrs:
            raise serializers.ValidationError({"since": "use either `since` or `hours`"})
        return attrs


class RulesView(ProjectView):
    http_method_names = ["get", "patch"]

    @extend_schema(
        operation_id="rules",
        summary="List rules, their thresholds, and the project's settings",
        tags=["rules"],
        responses=schemas.responses(200, schemas.Rules),
        examples=[examples.RULES],
    )
    def get(self, request: Request) -> Response:
        return self._shown()

    @extend_schema(
        operation_id="change_rules",
        summary="Change the rule settings that the project's agents inherit",
        tags=["rules"],
        request=RulesChanges,
        responses=schemas.responses(200, schemas.Rules, 400, 415, 422),
        examples=[examples.SET_RULES, examples.RULES],
    )
    def patch(self, request: Request) -> Response:
        changed, now = validated(RulesChanges, request.data)["rules"], timezone.now()
        services.change_project_rules(project=self._project(), given=changed, actor=self.caller.actor, now=now)
        return self._shown()

    def _project(self) -> Project:
        return Project.objects.get(pk=self.caller.project_id)

    def _shown(self) -> Response:
        current = self._project().rules
        return Response({"rules": current, "known": [_rule_dict(rule, current) for rule in rules.every().values()]})


class TryView(ProjectView):
    http_method_names = ["post"]
    # POST because of its body; nothing is written.
    scope_for = {"POST": "read"}

    @extend_schema(
        operation_id="try_rule",
        summary="Backtest a rule on stored heartbeats",
        description=f"Reads at most {backtest.MAX_BEATS:,} heartbeats, shared by all agents of the project.",
        tags=["rules"],
        request=Backtest,
        responses=schemas.responses(200, schemas.BacktestResult, 400, 404, 415, 422, 503),
        examples=[examples.BACKTEST, examples.BACKTEST_RESULT],
    )
    def post(self, request: Request) -> Response:
        requested, until = validated(Backtest, request.data), timezone.now()
        rule, thresholds = backtest.parse(requested["rule"], requested.get("thresholds", {}))
        since = _since(requested, until)
        if requested.get("agent") is None:
            project = Project.objects.get(pk=self.caller.project_id)
            trials, skipped = backtest.of_project(project, rule, thresholds, since, until)
        else:
            trials, skipped = [backtest.of_agent(self._agent(requested["agent"]), rule, thresholds, since, until)], 0
        times = {"since": moment(since), "until": moment(until)}
        return Response({"rule": rule.KIND, **times, "agents": list(map(trial_dict, trials)), "left_out": skipped})

    def _agent(self, id_or_name: int | str) -> Agent:
        names = AgentName.objects.filter(project=self.caller.project_id).select_related(
            "agent__project", "agent__state"
        )
        if isinstance(id_or_name, int):
            names = names.filter(agent=id_or_name) if 0 < id_or_name < 2**63 else names.none()
        else:
            names = names.filter(name=id_or_name) if "\0" not in id_or_name else names.none()
        name = names.first()
        if name is None:
            raise ApiError(404, "not_found", "This project has no such agent.")
        return name.agent


def _since(requested: dict[str, Any], now: datetime) -> datetime:
    if "since" not in requested:
        return now - timedelta(hours=requested.get("hours", DEFAULT_HOURS))
    since: datetime = requested["since"]
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
        "stops": trial.stops,
        "nudges": trial.nudges,
        "heartbeats": trial.heartbeats,
        "learned_from": trial.before,
        "findings": [episode_dict(episode, trial.until) for episode in trial.episodes],
        "incidents": [_signal_dict(signal) for signal in trial.real],
    }


def _signal_dict(signal: Signal) -> dict[str, Any]:
    return {
        "incident": signal.incident_id,
        "url": incident_url(signal.incident_id),
        "kind": signal.kind,
        "severity": signal.severity,
        "reason": signal.reason,
        "started_at": moment(signal.started_at),
        "opened_at": moment(signal.opened_at),
        "cleared_at": moment(signal.cleared_at),
    }


def episode_dict(episode: Episode, until: datetime) -> dict[str, Any]:
    finding = episode.finding
    return {
        "kind": SignalKind(finding.kind).value,
        "severity": finding.severity,
        "reason": finding.reason,
        "evidence": finding.evidence,
        "started_at": moment(finding.started_at),
        "fired_at": moment(episode.fired_at),
        "over_at": moment(episode.over_at),
        "nudged_at": moment(episode.told.at if episode.told else None),
        "stopped_at": moment(episode.stopped_at),
        "seconds": round(((episode.over_at or until) - episode.fired_at).total_seconds(), 3),
    }


def _rule_dict(rule: rules.Rule, project_rules: settings.Given) -> dict[str, Any]:
    return {
        "rule": rule.KIND,
        "label": rule.LABEL,
        "on": rules.in_force(rule, project_rules).on,
        "on_by_default": rules.in_force(rule).on,
        "thresholds": [_threshold_dict(threshold) for threshold in rule.THRESHOLDS],
    }


def _threshold_dict(threshold: Threshold) -> dict[str, Any]:
    return {
        "name": threshold.name,
        "type": {int: "integer", float: "number", bool: "boolean"}[threshold.kind],
        "default": threshold.default,
        "unit": threshold.unit,
        "minimum": threshold.minimum,
        "maximum": threshold.maximum,
        "why": threshold.why,
        "set_on": "agent" if threshold.column else "rules",
    }
