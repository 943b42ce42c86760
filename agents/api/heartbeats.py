"""`POST /api/v1/heartbeat` and `/heartbeat/batch`.

Agents wait for this response, so the parts of REST framework that are not needed are skipped: no parser, no serializer,
no content negotiation, no throttle.
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

from agents.api import examples, schemas
from agents.domain.heartbeat import Beat
from agents.domain.wire import sender_clock
from agents.domain.wire.decoding import decode, decode_batch
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


_HEARTBEAT: Final = (
    "Responds once the heartbeat is durable. `warning` is sent once per incident and client start. Whatever can be "
    "kept of a heartbeat is kept; `left_out` then names the fields that could not be, and why."
)
_BATCH: Final = (
    "Results are in the order of the heartbeats. Each has its own `left_out`. A rejected heartbeat does not affect "
    "the others."
)


class PlainJSON(BaseRenderer):
    """Errors are JSON, whatever the client accepts."""

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
        summary="Send a heartbeat",
        description=_HEARTBEAT,
        tags=["heartbeats"],
        request=schemas.Heartbeat,
        responses=schemas.responses(200, schemas.HeartbeatResponse, 400, 413, 415, 422),
        examples=[examples.BEAT, examples.ANSWER],
    )
    def post(self, request: Request) -> HttpResponse:
        beat = decode(body_of(request._request, MAX_BODY))
        outcome = _submit(request, [beat])[0]
        if isinstance(outcome, ApiError):
            raise outcome
        return _json(_result(beat, outcome))


class BatchView(BeatView):
    @extend_schema(
        operation_id="heartbeat_batch",
        summary="Send up to 500 heartbeats",
        description=_BATCH,
        tags=["heartbeats"],
        request=schemas.HeartbeatBatch,
        responses=schemas.responses(200, schemas.BATCH_ANSWER, 400, 413, 415, 422),
        examples=[examples.BATCH, examples.BATCH_ANSWER],
    )
    def post(self, request: Request) -> HttpResponse:
        items = decode_batch(body_of(request._request, MAX_BATCH_BODY))
        outcomes = iter(_submit(request, [item for item in items if isinstance(item, Beat)]))
        results = [next(outcomes) if isinstance(item, Beat) else item for item in items]
        _raise_if_all_failed(results)
        return _json({"results": [_result(item, result) for item, result in zip(items, results, strict=True)]})


def _submit(request: Request, beats: list[Beat]) -> list[Outcome]:
    caller = caller_of(request)
    now = timezone.now()
    detail = count_beats(caller, len(beats), now)
    minimum_interval.bound(beats, plan_for(caller, now))
    source = source_of(request._request, caller)
    ahead = sender_clock.ahead(beats, now)
    sender_clock.correct(beats, now, ahead)
    return committer.submit([Received(caller, beat, now, source, detail=detail, ahead=ahead) for beat in beats])


def _raise_if_all_failed(results: list[Outcome]) -> None:
    # If the server is too busy to store any of them, reject the whole batch so the client retries it.
    errors = [result for result in results if isinstance(result, ApiError)]
    if errors and len(errors) == len(results) and all(error.http_status == 503 for error in errors):
        raise errors[0]


def _result(item: Beat | ApiError, outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, ApiError):
        return outcome.body()
    left_out = item.left_out if isinstance(item, Beat) else None
    return {**outcome.as_dict(), "left_out": left_out} if left_out else outcome.as_dict()


def _json(data: dict[str, Any]) -> HttpResponse:
    return HttpResponse(_encode(data), content_type="application/json")


def body_of(request: HttpRequest, limit: int) -> bytes:
    """The raw body of at most `limit` bytes.

    Raises ApiError 415 if it is not declared as JSON, 413 if it is too large, 400 if it is incomplete.
    """
    if request.META.get("CONTENT_TYPE", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(415, "unsupported_media_type", "Send the body as JSON, with Content-Type: application/json.")
    try:
        if _declared_length(request) > limit:
            raise _too_large(limit)
        body = request.body
    except RequestDataTooBig:
        raise _too_large(limit) from None
    except UnreadablePostError:
        raise ApiError(400, "bad_request", "The body is incomplete. Send it again.") from None
    if len(body) > limit:
        raise _too_large(limit)
    return body


def _declared_length(request: HttpRequest) -> int:
    declared = request.META.get("CONTENT_LENGTH") or "0"
    return int(declared) if declared.isdecimal() else 0


def _too_large(limit: int) -> ApiError:
    return ApiError(413, "too_large", f"The body is larger than {limit // 1024} KiB. Send less at a time.")
