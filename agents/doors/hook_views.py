"""`POST /hooks/claude-code`, `/hooks/codex`, `/hooks/gemini`: coding agents tell their steps, and are told to stop.

A coding agent waits for these answers, and goes on without one: an error here never stops it.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import structlog
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from agents.domain.hot_row import Answer
from agents.doors import intake
from agents.doors.hooks import claude_code, codex, gemini
from agents.doors.otlp_views import body_of, caller_of
from agents.ingest.reporter import sender_of
from agents.ingest.write import failed, unavailable
from agents.models import AgentState, Incident
from teams.errors import ApiError

log = structlog.get_logger(__name__)
PROGRAMS: Final[dict[str, Any]] = {"claude-code": claude_code, "codex": codex, "gemini": gemini}
NOTHING: Final = b"{}"


@csrf_exempt
def hook(request: HttpRequest, program: str) -> HttpResponse:
    """One event. Answers `{}`, or that the tool call is denied because the agent is on hold."""
    try:
        answer = _hook(request, PROGRAMS[program])
    except ApiError as error:
        return _refused(error)
    except DatabaseError as error:
        return _refused(unavailable(error))
    except Exception:
        log.exception("a hook could not be handled", program=program)
        return _refused(failed())
    return HttpResponse(answer, content_type="application/json")


def _refused(error: ApiError) -> HttpResponse:
    return HttpResponse(
        error.encoded(), status=error.http_status, content_type="application/json", headers=error.headers()
    )


def _hook(request: HttpRequest, program: Any) -> bytes:
    if request.method != "POST":
        raise ApiError(405, "method_not_allowed", "Send a POST request.")
    caller = caller_of(request)
    event = _event(body_of(request))
    agent = request.GET.get("agent", "") or request.META.get("HTTP_X_AGENT_NAME", "")
    facts = program.facts(event, agent, int(timezone.now().timestamp() * 1_000_000))
    taken = intake.take(intake.Report(caller, facts, (), sender_of(request, caller)))
    if taken.hold is None or event.get("hook_event_name") not in program.ASKS:
        return NOTHING
    # Exactly these two keys: Codex runs the tool if there is another.
    return msgspec.json.encode({"decision": "block", "reason": _why(taken.hold)})


def _event(body: bytes) -> dict[str, Any]:
    try:
        event = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(400, "bad_request", f"The body is not valid JSON ({error}).") from None
    if not isinstance(event, dict):
        raise ApiError(422, "invalid", "The body is not a JSON object.")
    return event


def _why(answer: Answer) -> str:
    """What the model and the person in front of it read: why, and what lifts it."""
    incident = answer.incident or {}
    reason = Incident.objects.filter(pk=incident.get("id", 0)).values_list("reason", flat=True).first()
    held_by = AgentState.objects.filter(pk=answer.agent_id).values_list("hold_reason", flat=True).first()
    if held_by:
        return f"ClevAgent Watchdog holds this agent: {held_by}. Do not retry. The hold lasts until a person ends it."
    why = answer.reason or reason or "a budget is used up"
    where = f" at {incident['url']}" if incident.get("url") else ""
    return (
        f"ClevAgent Watchdog holds this agent: {why}. Do not retry. "
        f"The hold ends when a person resolves the incident or raises the budget{where}."
    )
