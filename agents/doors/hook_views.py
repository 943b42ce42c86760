"""`POST /hooks/claude-code`, `/hooks/codex`, `/hooks/gemini`: coding agents tell their steps, and are told to stop.

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
from agents.doors.hooks import claude_code, codex, events, gemini
from agents.doors.otlp_views import body_of, caller_of
from agents.ingest.reporter import sender_of
from agents.ingest.write import failed, unavailable
from teams.errors import ApiError

log = structlog.get_logger(__name__)
PROGRAMS: Final[dict[str, Any]] = {"claude-code": claude_code, "codex": codex, "gemini": gemini}
NOTHING: Final = b"{}"
MAX_NAME: Final = 100


@csrf_exempt
def hook(request: HttpRequest, program: str) -> HttpResponse:
    """One event. Answers `{}`, that the call is denied because the agent is on hold, or a word about its loop."""
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
    now = timezone.now()
    facts = program.facts(event, agent, int(now.timestamp() * 1_000_000))
    taken = intake.take(intake.Report(caller, facts, (), sender_of(request, caller)))
    try:
        # The time after the event: what the agent does from now on, it does knowing the answer.
        return _answer(event, program, taken.answer, timezone.now())
    except Exception:
        # The event is stored, and sending it again would change nothing.
        log.exception("a hook could not be answered")
        return NOTHING


def _answer(event: dict[str, Any], program: Any, heard: Answer | None, now: datetime) -> bytes:
    name = event.get("hook_event_name")
    if heard is not None and heard.hold and name in program.ASKS:
        reason = denials.deny(heard, what=_call(event), door=program.NAME, now=now)
        # Exactly these two keys: Codex runs the tool if there is another.
        return msgspec.json.encode({"decision": "block", "reason": reason})
    word = denials.nudge(heard, now) if heard is not None and name in program.HEARS else None
    if word is None:
        return NOTHING
    return msgspec.json.encode({"hookSpecificOutput": {"hookEventName": name, "additionalContext": word}})


def _call(event: dict[str, Any]) -> str:
    """The call that is asked for, as the timeline names it."""
    tool = events.tool_name(event)
    return f"the tool {tool[:MAX_NAME]}" if event.get("tool_name") else "the next turn"


def _event(body: bytes) -> dict[str, Any]:
    try:
        event = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(400, "bad_request", f"The body is not valid JSON ({error}).") from None
    if not isinstance(event, dict):
        raise ApiError(422, "invalid", "The body is not a JSON object.")
    return event
