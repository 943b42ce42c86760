"""`/api/v1/agents/{id}/schedule`: when a job is expected, its last runs, and where it pings."""

from __future__ import annotations

from typing import Any, Final

from django.utils import timezone
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agents.api import schemas
from agents.api.agents import AgentView
from agents.api.changes import Seconds
from agents.api.validation import validated
from agents.domain.jobs import Run, schedules
from agents.fleet import jobs as services
from agents.models import Agent, Job
from agents.reporting import jobs
from agents.reporting.payloads import moment
from teams.models import Scope

SLUG: Final = r"^[a-z0-9_-]*$"


class ScheduleChanges(serializers.Serializer[Any]):
    """Only the fields sent are changed; `max_duration: null` means the grace period."""

    schedule = serializers.ChoiceField(Job.Schedule.choices, required=False)
    period = Seconds(schedules.MIN_PERIOD)
    expression = serializers.CharField(
        max_length=schedules.MAX_EXPRESSION, allow_blank=True, required=False, help_text="cron or OnCalendar"
    )
    time_zone = serializers.CharField(max_length=schedules.MAX_ZONE, required=False)
    grace = Seconds(schedules.MIN_GRACE)
    max_duration = Seconds(schedules.MIN_DURATION)
    slug = serializers.RegexField(SLUG, max_length=200, allow_blank=True, required=False)

    def validate_period(self, value: float | None) -> float:
        return schedules.DEFAULT_PERIOD if value is None else value

    def validate_grace(self, value: float | None) -> float:
        return schedules.DEFAULT_GRACE if value is None else value


class RunDetail(serializers.Serializer[Any]):
    rid = serializers.CharField(allow_blank=True)
    started_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)
    ok = serializers.BooleanField(allow_null=True, help_text="null while it runs")
    exit_status = serializers.IntegerField(allow_null=True)
    duration = serializers.FloatField(allow_null=True)


class ScheduleDetail(serializers.Serializer[Any]):
    schedule = serializers.ChoiceField(Job.Schedule.choices)
    period = serializers.FloatField()
    expression = serializers.CharField(allow_blank=True)
    time_zone = serializers.CharField()
    grace = serializers.FloatField()
    max_duration = serializers.FloatField(allow_null=True)
    slug = serializers.CharField(allow_blank=True)
    declared = serializers.BooleanField(help_text="Whether the client declared it, not a person.")
    next_expected_at = serializers.DateTimeField(allow_null=True)
    next_deadline = serializers.DateTimeField(allow_null=True)
    running = serializers.BooleanField()
    runs = RunDetail(many=True)
    ping_url = serializers.CharField(allow_null=True, help_text="Only for keys with the scope full.")
    slug_url = serializers.CharField(allow_null=True, help_text="Only for keys with the scope full.")


_NIGHTLY: Final = {
    "schedule": "cron",
    "expression": "0 2 * * *",
    "time_zone": "Europe/Berlin",
    "grace": 900.0,
    "max_duration": 3_600.0,
}
_RUN: Final = {
    "rid": "",
    "started_at": "2026-11-23T01:00:02Z",
    "ended_at": "2026-11-23T01:12:40Z",
    "ok": True,
    "exit_status": 0,
    "duration": 758.0,
}
CHANGES_EXAMPLE: Final = OpenApiExample("Every night", _NIGHTLY, request_only=True)
EXAMPLE: Final = OpenApiExample(
    "Every night",
    {
        **_NIGHTLY,
        "period": 86_400.0,
        "slug": "nightly-backup",
        "declared": False,
        "next_expected_at": "2026-11-24T01:00:00Z",
        "next_deadline": "2026-11-24T01:15:00Z",
        "running": False,
        "runs": [_RUN],
        "ping_url": "https://watchdog.example.com/ping/5bf66975-d4c7-4bf5-bcc8-b8d8a82ea278",
        "slug_url": "https://watchdog.example.com/ping/Zk3x8Qm2LfW7tRb5NcYv0s/nightly-backup",
    },
    response_only=True,
    status_codes=["200"],
)


class ScheduleView(AgentView):
    http_method_names = ["get", "patch"]

    @extend_schema(
        operation_id="schedule",
        summary="Get a job's schedule and its last runs",
        tags=["jobs"],
        responses=schemas.responses(200, ScheduleDetail, 404),
        examples=[EXAMPLE],
    )
    def get(self, request: Request, pk: int) -> Response:
        return self._schedule(self.agent(pk))

    @extend_schema(
        operation_id="change_schedule",
        summary="Set a job's schedule",
        description="The agent becomes a job. The schedule counts from now: nothing earlier is missing.",
        tags=["jobs"],
        request=ScheduleChanges,
        responses=schemas.responses(200, ScheduleDetail, 400, 404, 415, 422),
        examples=[CHANGES_EXAMPLE, EXAMPLE],
    )
    def patch(self, request: Request, pk: int) -> Response:
        agent, changes = self.agent(pk), validated(ScheduleChanges, request.data)
        services.change_schedule(agent=agent, changes=changes, actor=self.caller.actor, now=timezone.now())
        return self._schedule(self.agent(pk))

    def _schedule(self, agent: Agent) -> Response:
        return Response(schedule_dict(agent, with_urls=self.caller.scope == Scope.FULL))


def schedule_dict(agent: Agent, *, with_urls: bool) -> dict[str, Any]:
    """The schedule in force. An agent that is no job has none, and is described as one without a schedule."""
    status = jobs.job_status(agent, timezone.now())
    own = (status and status.settings) or Job(agent=agent)
    schedule = status.schedule if status and status.is_declared else None
    urls = jobs.ping_urls(agent, own) if with_urls and status and status.settings else {}
    return {
        "schedule": schedule.kind if schedule else own.schedule,
        **{
            name: getattr(schedule or own, name)
            for name in ("period", "expression", "time_zone", "grace", "max_duration")
        },
        "slug": own.slug,
        "declared": schedule is not None,
        "next_expected_at": moment(status.due.at) if status and status.due else None,
        "next_deadline": moment(status.due.deadline) if status and status.due else None,
        "running": bool(status and status.is_running),
        "runs": [_run_dict(run) for run in status.runs] if status else [],
        "ping_url": urls.get("ping_url"),
        "slug_url": urls.get("slug_url"),
    }


def _run_dict(run: Run) -> dict[str, Any]:
    return {
        "rid": run.rid,
        "started_at": moment(run.began),
        "ended_at": moment(run.ended),
        "ok": run.ok,
        "exit_status": run.exit_status,
        "duration": run.duration,
    }
