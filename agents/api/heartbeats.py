"""`POST /api/v1/heartbeat` and `/heartbeat/batch`.

Every agent waits for this answer, so nothing of the REST framework runs here that is not needed: no parser, no
serializer, no negotiation, no throttle.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from agents.api import examples, shapes
from agents.domain import pricing
from agents.domain.heartbeat import Beat, decode, decode_batch
from agents.ingest import committer, minimum_interval
from agents.ingest.rate_limit import count_beats, plan_for
from agents.ingest.reporter import source_of
from agents.ingest.write import Outcome, Received
from teams.api import caller_of
from teams.auth import ApiKeyAuthentication
from teams.errors import ApiError

MAX_BODY: Final = 256 * 1024
MAX_BATCH_BODY: Final = 1024 * 1024
_encode = msgspec.json.Encoder().encode


class PlainJSON(BaseRenderer):
    """What an error is answered in: JSON, whatever was asked for."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        return _encode(data)


_RENDERED = (PlainJSON(), PlainJSON.media_type)
_AUTHENTICATORS = (ApiKeyAuthentication(),)


class BeatView(APIView):
    http_method_names = ["post"]
    scope_for = {"POST": "agent"}
    throttle_classes = ()
    renderer_classes = (PlainJSON,)

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        return Request(request, authenticators=_AUTHENTICATORS)

    def perform_content_negotiation(self, request: Request, force: bool = False) -> tuple[BaseRenderer, str]:
        return _RENDERED


class HeartbeatView(BeatView):
    @extend_schema(
        operation_id="heartbeat",
        summary="One report of an agent",
        description="Answered once it is durable. `warning` is given once per incident and client start.",
        tags=["heartbeats"],
        request=shapes.Heartbeat,
        responses=shapes.answers(200, shapes.Answer, 400, 413, 415, 422),
        examples=[examples.BEAT, examples.ANSWER],
    )
    def post(self, request: Request) -> HttpResponse:
        beat = decode(body_of(request._request, MAX_BODY))
        outcome = _submit(request, [beat])[0]
        if isinstance(outcome, ApiError):
            raise outcome
        return _json(outcome.as_dict())


class BatchView(BeatView):
    @extend_schema(
        operation_id="heartbeat_batch",
        summary="Up to 500 heartbeats",
        description="Answered in order; one that is refused is an error in its place and stops no other.",
        tags=["heartbeats"],
        request=shapes.HeartbeatBatch,
        responses=shapes.answers(200, shapes.BATCH_ANSWER, 400, 413, 415, 422),
        examples=[examples.BATCH, examples.BATCH_ANSWER],
    )
    def post(self, request: Request) -> HttpResponse:
        items = decode_batch(body_of(request._request, MAX_BATCH_BODY))
        outcomes = iter(_submit(request, [item for item in items if isinstance(item, Beat)]))
        results = [next(outcomes) if isinstance(item, Beat) else item for item in items]
        _require_some_room(results)
        return _json({"results": [_result(result) for result in results]})


def _submit(request: Request, beats: list[Beat]) -> list[Outcome]:
    caller = caller_of(request)
    now = timezone.now()
    detail = count_beats(caller, len(beats), now)
    minimum_interval.bound(beats, plan_for(caller, now))
    source = source_of(request._request, caller)
    ahead = pricing.ahead(beats, now)
    return committer.submit([Received(caller, beat, now, source, detail=detail, ahead=ahead) for beat in beats])


def _require_some_room(results: list[Outcome]) -> None:
    """A batch of which nothing could be stored is refused as a whole, so that a client sends it again."""
    errors = [result for result in results if isinstance(result, ApiError)]
    if errors and len(errors) == len(results) and all(error.http_status == 503 for error in errors):
        raise errors[0]


def _result(outcome: Outcome) -> dict[str, Any]:
    return outcome.body() if isinstance(outcome, ApiError) else outcome.as_dict()


def _json(data: dict[str, Any]) -> HttpResponse:
    return HttpResponse(_encode(data), content_type="application/json")


def body_of(request: HttpRequest, most: int) -> bytes:
    """The raw body of at most `most` bytes.

    Raises ApiError 415 when it is not declared as JSON, 413 before reading what is too large, 400 when it breaks off.
    """
    if request.META.get("CONTENT_TYPE", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(415, "unsupported_media_type", "Send the body as JSON, with Content-Type: application/json.")
    try:
        if _declared_length(request) > most:
            raise _too_large(most)
        body = request.body
    except RequestDataTooBig:
        raise _too_large(most) from None
    except UnreadablePostError:
        raise ApiError(400, "bad_request", "The body broke off before its end; send it again.") from None
    if len(body) > most:
        raise _too_large(most)
    return body


def _declared_length(request: HttpRequest) -> int:
    declared = request.META.get("CONTENT_LENGTH") or "0"
    return int(declared) if declared.isdecimal() else 0


def _too_large(most: int) -> ApiError:
    return ApiError(413, "too_large", f"The body is larger than {most // 1024} KiB; send less at a time.")
