"""`POST /hooks/claude-code`, `/hooks/codex`, `/hooks/gemini`, `/hooks/opencode`: coding agents tell their steps, and
are told to stop.

A coding agent waits for these answers, and goes on without one: an error here never stops it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec
import structlog
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from agents.domain.hot_row import Answer
from agents.doors import denials, intake
from agents.doors.hooks import claude_code, codex, gemini, opencode
from agents.doors.otlp_views import body_of, caller_of
from agents.ingest.reporter import sender_of
from agents.ingest.write import failed, unavailable
from teams.errors import ApiError

log = structlog.get_logger(__name__)
PROGRAMS: Final[dict[str, Any]] = {"claude-code": claude_code, "codex": codex, "gemini": gemini, "opencode": opencode}
MAX_NAME: Final = 100


@csrf_exempt
def hook(request: HttpRequest, program: str) -> HttpResponse:
    """One event. Answers `{}`, that the call is denied because the agent is on hold, or a word about its loop."""
    try:
        return answered(_hook(request, PROGRAMS[program]))
    except ApiError as error:
        return refused(error)
    except DatabaseError as error:
        return refused(unavailable(error))
    except Exception:
        log.exception("a hook could not be handled", program=program)
        return refused(failed())


def answered(body: dict[str, Any]) -> HttpResponse:
    return HttpResponse(msgspec.json.encode(body), content_type="application/json")


def refused(error: ApiError) -> HttpResponse:
    return HttpResponse(
        error.encoded(), status=error.http_status, content_type="application/json", headers=error.headers()
    )


def _hook(request: HttpRequest, program: Any) -> dict[str, Any]:
    if request.method != "POST":
        raise ApiError(405, "method_not_allowed", "Send a POST request.")
    caller = caller_of(request)
    event = json_of(request)
    if not isinstance(event, dict):
        raise ApiError(422, "invalid", "The body is not a JSON object.")
    facts = program.facts(event, named(request), int(timezone.now().timestamp() * 1_000_000))
    taken = intake.take(intake.Report(caller, facts, (), sender_of(request, caller)))
    try:
        # The time after the event: what the agent does from now on, it does knowing the answer.
        return _answer(event, program, taken.answer, timezone.now())
    except Exception:
        # The event is stored, and sending it again would change nothing.
        log.exception("a hook could not be answered")
        return {}


def named(request: HttpRequest) -> str:
    """The agent that the address names."""
    return request.GET.get("agent", "") or str(request.META.get("HTTP_X_AGENT_NAME", ""))


def json_of(request: HttpRequest) -> Any:
    """The decoded body. Raises ApiError 400."""
    try:
        return msgspec.json.decode(body_of(request))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(400, "bad_request", f"The body is not valid JSON ({error}).") from None


def _answer(event: dict[str, Any], program: Any, heard: Answer | None, now: datetime) -> dict[str, Any]:
    name = program.name_of(event)
    if heard is None:
        return {}
    if heard.hold and name in program.ASKS:
        reason = denials.deny(heard, what=_call(program.tool_of(event)), door=program.NAME, now=now)
        # Exactly these two keys: Codex runs the tool if there is another.
        return {"decision": "block", "reason": reason}
    word = denials.nudge(heard, now) if name in program.HEARS else None
    return {"hookSpecificOutput": {"hookEventName": name, "additionalContext": word}} if word else {}


def _call(tool: str) -> str:
    """The call that is asked for, as the timeline names it."""
    return f"the tool {tool[:MAX_NAME]}" if tool else "the next turn"
