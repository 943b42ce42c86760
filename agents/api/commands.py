"""`/api/v1/commands`: what runners ask for and answer."""

from __future__ import annotations

from datetime import datetime
from time import sleep
from typing import Any, Final

import structlog
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from agents.api import examples, shapes
from agents.api.project import ProjectView
from agents.api.valid import valid
from agents.commands import dispatch
from agents.ingest.rate_limit import count_beats
from agents.ingest.reporter import source_of
from agents.models import Command, RestartType
from agents.reporting.payloads import agent_ref, moment
from teams.models import Scope

log = structlog.get_logger(__name__)

# How often, and for how many seconds, a runner waits for the word of one that looks like it.
MAX_WAITS: Final = 5
WAIT: Final = 0.1


class EvidenceLabels(serializers.CharField):
    """Whatever a runner says: refusing its report over the wording would lose it."""

    def to_internal_value(self, data: Any) -> str:
        return str(data).replace("\0", "")


class Preflight(serializers.Serializer[Any]):
    agent = serializers.CharField(max_length=200)
    type = serializers.ChoiceField(RestartType.choices)
    target = serializers.CharField(max_length=300)
    cause = EvidenceLabels(help_text="What the runner saw.")


class CommandsView(ProjectView):
    # GET answers a bare list whatever goes wrong: the published runner ends at any other answer.

    http_method_names = ["get", "post"]
    scope_for = {"GET": "agent", "POST": "agent"}

    @extend_schema(
        operation_id="commands",
        summary="What this runner is to do now",
        description="Each command is handed out once. A `read` key is handed nothing. Errors, too, answer `[]`.",
        tags=["commands"],
        responses={
            200: shapes.WaitingCommand(many=True),
            **dict.fromkeys((401, 403, 429), shapes.EMPTY_LIST),
        },
        examples=[examples.COMMANDS],
    )
    def get(self, request: Request) -> Response:
        # A look with a `read` key must not take a command that nobody will then carry out.
        if self.caller.scope == Scope.READ:
            return Response([])
        handed, now = self.hand_out(source_of(request._request, self.caller)), timezone.now()
        return Response([waiting_dict(command, now) for command in handed])

    @extend_schema(
        operation_id="grant_restart",
        summary="May this runner restart what it sees down, now?",
        description=(
            "201: the command is this runner's already; it reports the result as usual. 409: not now; `code` says why "
            "(`restart_off`, `held`, `paused`, `waiting`, `together`, `needs_a_person`, `restart_delay`, `gave_up`, "
            "`command_live`, `unsafe_to_repeat`, `source_quiet`), and `Retry-After` when, where it is only a matter of "
            "time."
        ),
        tags=["commands"],
        request=Preflight,
        responses=shapes.answers(201, shapes.WaitingCommand, 400, 404, 409, 415, 422),
        examples=[examples.WISH, examples.GRANTED],
    )
    def post(self, request: Request) -> Response:
        wish, now = valid(Preflight, request.data), timezone.now()
        command = dispatch.grant(
            caller=self.caller,
            runner=source_of(request._request, self.caller),
            name=wish["agent"],
            target=(wish["type"], wish["target"]),
            cause=wish["cause"],
            now=now,
        )
        return Response(waiting_dict(command, now), status=201)

    def hand_out(self, runner: str) -> list[Command]:
        for _ in range(MAX_WAITS):
            handed = dispatch.hand_out(caller=self.caller, runner=runner, now=timezone.now())
            if handed or not dispatch.may_be_returned(caller=self.caller, runner=runner, now=timezone.now()):
                return handed
            sleep(WAIT)
        return []

    def handle_exception(self, exc: Exception) -> Response:
        if self.request.method == "POST":
            return super().handle_exception(exc)
        try:
            response = super().handle_exception(exc)
        except Exception:
            log.exception("commands could not be handed out")
            return Response([], status=500)
        response.data = []
        return response


class Result(serializers.Serializer[Any]):
    status = serializers.ChoiceField([state.value for state in dispatch.RESULTS])
    message = EvidenceLabels(required=False, allow_blank=True, allow_null=True)


class ResultView(ProjectView):
    """A runner reports once and never again, so the plan's rate does not refuse it, only a flood is."""

    http_method_names = ["post"]
    scope_for = {"POST": "agent"}
    throttle_classes = ()

    @extend_schema(
        operation_id="command_result",
        summary="What became of a command",
        description="`rejected` with “not registered” leaves the command to another runner. The first result stands.",
        tags=["commands"],
        request=Result,
        responses=shapes.answers(200, shapes.CommandDetail, 400, 404, 409, 415, 422),
        examples=[examples.RESULT, examples.COMMAND],
    )
    def post(self, request: Request, pk: int) -> Response:
        now = timezone.now()
        count_beats(self.caller, 1, now)
        result = valid(Result, request.data)
        command = dispatch.report(
            command_id=pk,
            caller=self.caller,
            runner=source_of(request._request, self.caller),
            status=result["status"],
            message=result.get("message") or "",
            now=now,
        )
        return Response(command_dict(command))


def waiting_dict(command: Command, now: datetime) -> dict[str, Any]:
    """A command as runners read it: void after `expires_in` seconds."""
    left = (command.expires_at - now).total_seconds()
    return {**_order(command), "agent": command.agent.name, "expires_in": max(0.0, round(left, 3))}


def _order(command: Command) -> dict[str, Any]:
    return {
        "id": command.pk,
        "action": command.action,
        "type": command.type,
        "target": command.target,
        "reason": command.reason,
        "evidence_at": moment(command.evidence_at),
    }


def command_dict(command: Command) -> dict[str, Any]:
    """A command in full."""
    return {
        **_order(command),
        "state": command.state,
        "agent": agent_ref(command.agent),
        "incident": command.incident_id,
        "origin": command.origin,
        "requested_by": command.requested_by,
        "created_at": moment(command.created_at),
        "expires_at": moment(command.expires_at),
        "finished_at": moment(command.finished_at),
        "result": command.result,
    }
