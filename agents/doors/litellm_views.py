"""`POST /hooks/litellm` for LiteLLM's spend log, `POST /beta/litellm_basic_guardrail_api` for its guardrail."""

from __future__ import annotations

from typing import Any, Final

import structlog
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from agents.doors import denials, intake, litellm
from agents.doors.hook_views import answered, json_of, named, refused
from agents.doors.otlp_views import caller_of
from agents.ingest.reporter import sender_of
from agents.ingest.write import failed, unavailable
from agents.models import AgentState
from teams.auth import Caller
from teams.errors import ApiError

log = structlog.get_logger(__name__)
GO_ON: Final = {"action": "NONE"}


@csrf_exempt
def spend(request: HttpRequest) -> HttpResponse:
    """Calls with their tokens and prices, or a budget alert."""
    try:
        caller = _caller(request)
        found = litellm.facts(json_of(request), named(request), int(timezone.now().timestamp() * 1_000_000))
        taken = intake.take(intake.Report(caller, found, (), sender_of(request, caller)))
    except ApiError as error:
        return refused(error)
    except DatabaseError as error:
        return refused(unavailable(error))
    except Exception:
        log.exception("a spend log could not be handled")
        return refused(failed())
    return answered({"rejected": taken.refused, "reason": taken.reason} if taken.refused else {})


@csrf_exempt
def guardrail(request: HttpRequest) -> HttpResponse:
    """Whether LiteLLM may send a call. Only a hold blocks it; what we cannot answer does not."""
    try:
        caller = _caller(request)
        asked = json_of(request)
    except ApiError as error:
        return refused(error)
    try:
        return answered(_judged(caller, asked if isinstance(asked, dict) else {}, named(request)))
    except Exception:
        log.exception("a guardrail request could not be answered")
        return answered(GO_ON)


def _judged(caller: Caller, asked: dict[str, Any], agent: str) -> dict[str, str]:
    name = caller.agent or litellm.agent_of(asked, agent)
    state = AgentState.objects.filter(agent__project=caller.project_id, agent__names__name=name, hold=True).first()
    if state is None:
        return GO_ON
    model = str(asked.get("model") or "a model")[:100]
    reason = denials.deny_state(state, what=f"a call to {model}", door=litellm.NAME, now=timezone.now())
    return {"action": "BLOCKED", "blocked_reason": reason}


def _caller(request: HttpRequest) -> Caller:
    if request.method != "POST":
        raise ApiError(405, "method_not_allowed", "Send a POST request.")
    return caller_of(request)
