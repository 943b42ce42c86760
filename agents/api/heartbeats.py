"""`POST /api/v1/heartbeat` and `/heartbeat/batch`.

Agents wait for this response, so the parts of REST framework that are not needed are skipped: no parser, no serializer,
no content negotiation, no throttle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from agents.ingest.reporter import sender_of
from agents.ingest.write import Outcome, Received
from billing.plans import Plan
from teams.api import caller_of
from teams.auth import ApiKeyAuthentication, Caller
from teams.errors import ApiError

MAX_BODY: Final = 256 * 1024
MAX_BATCH_BODY: Final = 1024 * 1024
_encode = msgspec.json.Encoder().encode
Items = Sequence[Beat | ApiError]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How one of the two endpoints decodes a body and encodes the outcomes of its heartbeats."""

    max_body: int
    decode: Callable[[bytes], Items]
    encode: Callable[[Items, Sequence[Outcome]], bytes]


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
        return _respond(SINGLE, request)


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
        return _respond(BATCH, request)


def _respond(endpoint: Endpoint, request: Request) -> HttpResponse:
    caller = caller_of(request)
    committer.require_room()
    items = endpoint.decode(body_of(request._request, endpoint.max_body))
    beats = [item for item in items if isinstance(item, Beat)]
    plan = plan_for(caller, timezone.now())
    outcomes = committer.submit(received_from(beats, caller, plan, sender_of(request._request, caller)))
    return HttpResponse(endpoint.encode(items, outcomes), content_type="application/json")


def received_from(beats: Sequence[Beat], caller: Caller, plan: Plan, source: str) -> list[Received]:
    """Count the heartbeats against the plan's rate. Raises ApiError 429 for a flood. Asks no database."""
    now = timezone.now()
    detail = count_beats(caller, plan, max(1, len(beats)), now)  # a batch of errors is a request, too
    minimum_interval.bound(beats, plan)
    ahead = sender_clock.ahead(beats, now)
    sender_clock.correct(beats, now)
    return [Received(caller, beat, now, source, detail=detail, ahead=ahead) for beat in beats]


def _decode_single(body: bytes) -> Items:
    return [decode(body)]


def _encode_single(items: Items, outcomes: Sequence[Outcome]) -> bytes:
    (outcome,) = outcomes
    if isinstance(outcome, ApiError):
        raise outcome
    return _encode(_result(items[0], outcome))


def _encode_batch(items: Items, outcomes: Sequence[Outcome]) -> bytes:
    following = iter(outcomes)
    results = [next(following) if isinstance(item, Beat) else item for item in items]
    _raise_if_all_failed(results)
    return _encode({"results": [_result(item, result) for item, result in zip(items, results, strict=True)]})


def _raise_if_all_failed(results: Sequence[Outcome]) -> None:
    # If the server is too busy to store any of them, reject the whole batch so the client retries it.
    errors = [result for result in results if isinstance(result, ApiError)]
    if errors and len(errors) == len(results) and all(error.http_status in (429, 503) for error in errors):
        raise errors[0]


def _result(item: Beat | ApiError, outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, ApiError):
        return outcome.body()
    left_out = item.left_out if isinstance(item, Beat) else None
    return {**outcome.as_dict(), "left_out": left_out} if left_out else outcome.as_dict()


SINGLE: Final = Endpoint(MAX_BODY, _decode_single, _encode_single)
BATCH: Final = Endpoint(MAX_BATCH_BODY, decode_batch, _encode_batch)


def body_of(request: HttpRequest, limit: int) -> bytes:
    """The raw body of at most `limit` bytes.

    Raises ApiError 415 if it is not declared as JSON, 413 if it is too large, 400 if it is incomplete.
    """
    require_json(request.META.get("CONTENT_TYPE", ""))
    try:
        if _declared_length(request) > limit:
            raise too_large(limit)
        body = request.body
    except RequestDataTooBig:
        raise too_large(limit) from None
    except UnreadablePostError:
        raise ApiError(400, "bad_request", "The body is incomplete. Send it again.") from None
    if len(body) > limit:
        raise too_large(limit)
    return body


def require_json(content_type: str) -> None:
    """Raise ApiError 415 unless the body is declared as JSON."""
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise ApiError(415, "unsupported_media_type", "Send the body as JSON, with Content-Type: application/json.")


def _declared_length(request: HttpRequest) -> int:
    declared = request.META.get("CONTENT_LENGTH") or "0"
    return int(declared) if declared.isdecimal() else 0


def too_large(limit: int) -> ApiError:
    return ApiError(413, "too_large", f"The body is larger than {limit // 1024} KiB. Send less at a time.")
