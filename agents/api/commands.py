"""`/api/v1/commands`: runners fetch commands and report their results."""

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

from agents.api import examples, schemas
from agents.api.project_view import ProjectView
from agents.api.validation import validated
from agents.commands import dispatch
from agents.ingest.rate_limit import count_beats, plan_for
from agents.ingest.reporter import sender_of
from agents.models import Command, RestartType
from agents.reporting.payloads import agent_ref, moment
from teams.models import Scope

log = structlog.get_logger(__name__)

# How often and how long (in seconds) to wait for a result that may return a command to this runner.
MAX_WAITS: Final = 5
WAIT: Final = 0.1


class RunnerText(serializers.CharField):
    """Accepts any value: rejecting a runner's report because of its text would lose the report."""

    def to_internal_value(self, data: Any) -> str:
        return str(data).replace("\0", "")


class Preflight(serializers.Serializer[Any]):
    agent = serializers.CharField(max_length=200)
    type = serializers.ChoiceField(RestartType.choices)
    target = serializers.CharField(max_length=300)
    cause = RunnerText(help_text="What the runner observed.")


class CommandsView(ProjectView):
    # GET always responds with a bare list, also on errors: the published runner exits on anything else.

    http_method_names = ["get", "post"]
    scope_for = {"GET": "agent", "POST": "agent"}

    @extend_schema(
        operation_id="commands",
        summary="Fetch commands for this runner",
        description="Each command is handed out once. A `read` or `act` key gets an empty list, as does every error.",
        tags=["commands"],
        responses={
            200: schemas.WaitingCommand(many=True),
            **dict.fromkeys((401, 403, 429), schemas.EMPTY_LIST),
        },
        examples=[examples.COMMANDS],
    )
    def get(self, request: Request) -> Response:
        # Such a key must not take a command, because nobody would then carry it out.
        if self.caller.scope in (Scope.READ, Scope.ACT):
            return Response([])
        commands, now = self.hand_out(sender_of(request._request, self.caller)), timezone.now()
        return Response([waiting_dict(command, now) for command in commands])

    @extend_schema(
        operation_id="grant_restart",
        summary="Request a restart of a target that is down",
        description=(
            "For runners. 201: the restart is granted and already handed to this runner, which reports the result as "
            "usual. 409: not now; `code` says why (`restart_off`, `held`, `paused`, `waiting`, `together`, "
            "`needs_a_person`, `restart_delay`, `gave_up`, `command_live`, `unsafe_to_repeat`, `source_quiet`), and "
            "`Retry-After` says when to ask again if that helps."
        ),
        tags=["commands"],
        request=Preflight,
        responses=schemas.responses(201, schemas.WaitingCommand, 400, 404, 409, 415, 422),
        examples=[examples.PREFLIGHT, examples.GRANTED],
    )
    def post(self, request: Request) -> Response:
        preflight, now = validated(Preflight, request.data), timezone.now()
        command = dispatch.grant(
            caller=self.caller,
            runner=sender_of(request._request, self.caller),
            name=preflight["agent"],
            target=(preflight["type"], preflight["target"]),
            cause=preflight["cause"],
            now=now,
        )
        return Response(waiting_dict(command, now), status=201)

    def hand_out(self, runner: str) -> list[Command]:
        for _ in range(MAX_WAITS):
            commands = dispatch.hand_out(caller=self.caller, runner=runner, now=timezone.now())
            if commands or not dispatch.may_be_returned(caller=self.caller, runner=runner, now=timezone.now()):
                return commands
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
    message = RunnerText(required=False, allow_blank=True, allow_null=True)


class ResultView(ProjectView):
    # A runner reports a result only once, so the plan's rate limit does not apply, only flood protection.

    http_method_names = ["post"]
    scope_for = {"POST": "agent"}
    throttle_classes = ()

    @extend_schema(
        operation_id="command_result",
        summary="Report the result of a command",
        description="`rejected` with “not registered” passes the command to another runner. The first result counts.",
        tags=["commands"],
        request=Result,
        responses=schemas.responses(200, schemas.CommandDetail, 400, 404, 409, 415, 422),
        examples=[examples.RESULT, examples.COMMAND],
    )
    def post(self, request: Request, pk: int) -> Response:
        now = timezone.now()
        count_beats(self.caller, plan_for(self.caller, now), 1, now)
        result = validated(Result, request.data)
        command = dispatch.report(
            command_id=pk,
            caller=self.caller,
            runner=sender_of(request._request, self.caller),
            status=result["status"],
            message=result.get("message") or "",
            now=now,
        )
        return Response(command_dict(command))


def waiting_dict(command: Command, now: datetime) -> dict[str, Any]:
    """A command for a runner; it expires after `expires_in` seconds."""
    left = (command.expires_at - now).total_seconds()
    return {
        **_order(command),
        "agent": command.agent.name,
        # The runner may watch it under an alias, and refuses a command for an agent that it does not watch there.
        "names": [row.name for row in command.agent.names.all()],
        "origin": command.origin,
        "expires_in": max(0.0, round(left, 3)),
    }


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
    """A command with its state and result."""
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
