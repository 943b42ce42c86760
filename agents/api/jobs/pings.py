"""`/ping/…`: the ping API of Healthchecks, so that its clients work with another base address.

By the job's UUID, or by the project's ping key and the job's slug; each alone (a success), or with `/start`, `/fail`,
`/log` or an exit status. A ping is stored as a heartbeat. The body is what the job printed: it is kept, never parsed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from functools import partial, wraps
from typing import Any, Final
from uuid import UUID

from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.urls import URLPattern, path, register_converter
from django.urls.converters import StringConverter, UUIDConverter
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from agents.domain import jobs
from agents.domain.heartbeat import Beat, JobEvent
from agents.domain.redaction import redacted
from agents.fleet import jobs as services
from agents.ingest import committer
from agents.ingest.rate_limit import count_beats, plan_for
from agents.ingest.reporter import sender_of
from agents.ingest.write import Received
from agents.models import Agent
from teams import prices
from teams.auth import Caller
from teams.errors import ApiError
from teams.models import Project, Scope

# The start of a body that is kept, in bytes. Clients read it from the header and send no more; Healthchecks' default.
BODY_LIMIT: Final = 10_000
MAX_EXIT_STATUS: Final = 255
HEADERS: Final = {
    "Ping-Body-Limit": str(BODY_LIMIT),
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Ping-Body-Limit",
}
_NOT_FOUND: Final = ApiError(404, "not_found", "not found")
_WRONG_URL: Final = ApiError(400, "bad_request", "invalid url format")
_WORDS: Final = {jobs.START: "Started", jobs.SUCCESS: "Succeeded", jobs.FAIL: "Failed", jobs.LOG: "Log"}
_SLUG: Final = re.compile(r"[a-z0-9_-]{1,200}")
View = Callable[..., HttpResponse]


def ping_view(view: Callable[..., Agent]) -> View:
    """A view that finds the agent of a ping. Answers `OK` once the ping is durable, else why not."""

    @csrf_exempt
    @never_cache
    @require_http_methods(["HEAD", "GET", "POST"])
    @wraps(view)
    def wrapped(
        request: HttpRequest, action: str = jobs.SUCCESS, code: int | None = None, **found: Any
    ) -> HttpResponse:
        try:
            event = event_of(action, code, request.GET.get("rid"))
            agent, sender = view(request, **found), partial(sender_of, request)
            store(agent, event, body=kept(_read(request)), sender=sender, now=timezone.now())
        except ApiError as error:
            return _answer(error.message, error.http_status, error.headers())
        return _answer("OK", 200, {})

    return wrapped


def _answer(text: str, status: int, headers: dict[str, str]) -> HttpResponse:
    return HttpResponse(text, status=status, content_type="text/plain; charset=utf-8", headers={**headers, **HEADERS})


def event_of(action: str, code: int | None, rid: str | None) -> JobEvent:
    """Raises ApiError 400 for an exit status over 255, and for a run ID that is no UUID."""
    if code is not None and code > MAX_EXIT_STATUS:
        raise _WRONG_URL
    if code is not None:
        action = jobs.FAIL if code else jobs.SUCCESS
    return JobEvent(event=action, rid=_run_id(rid), exit_status=code)  # type: ignore[arg-type]


def _run_id(rid: str | None) -> str | None:
    if rid is None:
        return None
    try:
        return str(UUID(rid))
    except ValueError:
        raise ApiError(400, "bad_request", "invalid uuid format") from None


@ping_view
def by_id(request: HttpRequest, ping_id: UUID) -> Agent:
    agent = services.by_ping_id(ping_id)
    if agent is None:
        raise _NOT_FOUND
    return agent


@ping_view
def by_slug(request: HttpRequest, ping_key: str, slug: str) -> Agent:
    agents = services.by_slug(ping_key, slug)
    if len(agents) > 1:
        raise ApiError(409, "ambiguous", "ambiguous slug")
    if agents:
        return agents[0]
    project = services.project_by_key(ping_key)
    if project is None or request.GET.get("create") != "1":
        raise _NOT_FOUND
    if not _SLUG.fullmatch(slug):
        raise _WRONG_URL
    return services.create_for_ping(project=project, name=slug, now=timezone.now())


def store(
    agent: Agent,
    event: JobEvent,
    *,
    body: str,
    sender: Callable[[Caller], str],
    now: datetime,
    beat_id: str | None = None,
) -> None:
    """Store the ping as a heartbeat; one with the same `beat_id` is stored once.

    Raises ApiError: 429, 403 over the plan's limit, 503 when it cannot be stored.
    """
    caller = caller_for(agent.project, now)
    detail = count_beats(caller, plan_for(caller, now), 1, now)
    keeps_body = detail or (event.event == jobs.FAIL and caller.keeps_details)
    beat = beat_of(agent, event, body if keeps_body else "")
    beat.beat_id = beat_id
    received = Received(caller, beat, now, sender(caller), detail=detail or event.event != jobs.LOG)
    (outcome,) = committer.submit([received])
    if isinstance(outcome, ApiError):
        raise outcome


def beat_of(agent: Agent, event: JobEvent, body: str) -> Beat:
    """The heartbeat that a ping is. For an agent that is no job, a failure is an error."""
    is_job = agent.kind == Agent.Kind.JOB
    return Beat(
        agent=agent.name,
        status="error" if event.event == jobs.FAIL else "ok",
        message=_message(event),
        custom_data=body or None,
        progress=event.event in (jobs.START, jobs.SUCCESS),
        job=event if is_job else None,
    )


def _message(event: JobEvent) -> str:
    word = _WORDS[event.event]
    return word if event.exit_status is None else f"{word}: exit status {event.exit_status}"


def caller_for(project: Project, now: datetime) -> Caller:
    """A ping is made for a project and nothing else; its key is no API key."""
    full_until = project.team.details_off_until
    return Caller(
        key_id=0,
        prefix=f"ping-{project.pk}",
        scope=Scope.AGENT,
        project_id=project.pk,
        team_id=project.team_id,
        time_zone=project.time_zone,
        strict=project.strict,
        default_grace=project.default_grace,
        prices=prices.overrides(project.prices),
        monthly=project.monthly_budget_usd is not None,
        keeps_details=full_until is None or full_until <= now,
    )


def _read(request: HttpRequest) -> bytes:
    """The start of the body. A body of any size is accepted: the ping must not be lost."""
    try:
        return request.read(BODY_LIMIT)
    except UnreadablePostError:
        return b""


def kept(raw: bytes) -> str:
    """What is kept of a body: its start as text, without secrets."""
    return redacted(raw[:BODY_LIMIT].decode("utf-8", "replace").replace("\0", "\ufffd"))


class AnyUuid(UUIDConverter):
    """In capitals, too, as `uuidgen` prints it on macOS."""

    regex = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"


class SlugOrName(StringConverter):
    """A slug; also the name of an agent, which may have other characters."""

    regex = r"[^/]{1,200}"


class PingKey(StringConverter):
    regex = r"[A-Za-z0-9_-]{8,40}"


register_converter(AnyUuid, "any_uuid")
register_converter(SlugOrName, "slug_or_name")
register_converter(PingKey, "ping_key")


def _addresses(base: str, view: View, name: str) -> list[URLPattern]:
    """A success and the other events, with or without a slash at the end."""
    actions = [(f"{base}/{action}", {"action": action}) for action in (jobs.START, jobs.FAIL, jobs.LOG)]
    events = [(base, {}), *actions, (f"{base}/<int:code>", {})]
    plain = [path(address, view, given, name=name if address == base else None) for address, given in events]
    return [*plain, *(path(f"{address}/", view, given) for address, given in events)]


urlpatterns = [
    *_addresses("<any_uuid:ping_id>", by_id, "ping"),
    *_addresses("<ping_key:ping_key>/<slug_or_name:slug>", by_slug, "ping_by_slug"),
]
