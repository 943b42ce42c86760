"""`POST /v1/traces`, `/v1/metrics` and `/v1/logs`, for every sender that speaks OTLP/HTTP."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Final

import structlog
from django.core.exceptions import RequestDataTooBig
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from agents.doors import intake
from agents.doors.dialects import facts_of
from agents.doors.facts import Fact
from agents.doors.otlp import answers, body, otlp_json, protobuf
from agents.doors.otlp.telemetry import Export, MalformedError
from agents.ingest.rate_limit import count_export
from agents.ingest.reporter import sender_of
from agents.ingest.write import failed, unavailable
from teams import auth
from teams.auth import Caller
from teams.errors import ApiError

log = structlog.get_logger(__name__)

KINDS: Final = {
    "application/x-protobuf": answers.PROTOBUF,
    "application/protobuf": answers.PROTOBUF,
    "application/vnd.google.protobuf": answers.PROTOBUF,
    "application/json": answers.JSON,
}
_DECODERS: Final[dict[tuple[str, str], Callable[[bytes], Export]]] = {
    ("traces", answers.PROTOBUF): protobuf.traces,
    ("metrics", answers.PROTOBUF): protobuf.metrics,
    ("logs", answers.PROTOBUF): protobuf.logs,
    ("traces", answers.JSON): otlp_json.traces,
    ("metrics", answers.JSON): otlp_json.metrics,
    ("logs", answers.JSON): otlp_json.logs,
}


@csrf_exempt
def export(request: HttpRequest, signal: str) -> HttpResponse:
    """Take spans, metrics or logs. Errors are a google.rpc.Status in the encoding of the request."""
    declared = request.META.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    kind = KINDS.get(declared, answers.JSON)
    try:
        if request.method != "POST":
            raise ApiError(405, "method_not_allowed", "Send a POST request.")
        if declared not in KINDS:
            raise ApiError(415, "unsupported_media_type", "Send application/x-protobuf or application/json.")
        answer = _export(request, signal, kind)
    except ApiError as error:
        return _refused(error, kind)
    except DatabaseError as error:
        return _refused(unavailable(error), kind)
    except Exception:
        log.exception("telemetry could not be handled", signal=signal)
        return _refused(failed(), kind)
    return HttpResponse(answer, content_type=kind)


def _refused(error: ApiError, kind: str) -> HttpResponse:
    answer = answers.status(error.http_status, error.message, kind)
    return HttpResponse(answer, status=error.http_status, content_type=kind, headers=error.headers())


def _export(request: HttpRequest, signal: str, kind: str) -> bytes:
    caller = caller_of(request)
    decode = _DECODERS[signal, kind]
    try:
        exported = decode(body.decompressed(body_of(request), request.META.get("HTTP_CONTENT_ENCODING", "")))
    except MalformedError as error:
        raise ApiError(400, "bad_request", str(error)) from None
    facts = _facts(exported)
    taken = intake.take(intake.Report(caller, facts, exported.items, sender_of(request, caller)))
    rejected = exported.rejected + taken.refused
    return answers.accepted(signal, kind, rejected, taken.reason or exported.reason)


def _facts(exported: Export) -> list[Fact]:
    facts: list[Fact] = []
    for item in exported.items:
        try:
            facts += facts_of(item)
        except Exception:
            # One item that a dialect cannot read must not cost its sender the others.
            log.exception("an item of telemetry could not be read", scope=item.scope)
            exported.reject("An item could not be read. See the server's log.")
    return facts


def caller_of(request: HttpRequest) -> Caller:
    """The caller by X-API-Key, Bearer, or Basic with the key as its password (LangFuse: as its secret key).

    Raises ApiError: 401, 403, or 429 for a flood.
    """
    headers = request.META
    key = key_in(headers.get("HTTP_X_API_KEY", ""), headers.get("HTTP_AUTHORIZATION", ""))
    caller = auth.authenticate_key(key, headers.get("REMOTE_ADDR", ""))
    auth.require_scope(caller, "agent")
    count_export(caller, timezone.now())
    return caller


def key_in(api_key: str, authorization: str) -> str | None:
    """The key in the headers X-API-Key and Authorization, as `caller_of` reads them."""
    return auth.key_from(api_key or _password(authorization), authorization)


def _password(authorization: str) -> str:
    """The password of Basic credentials; the user name if that is the key."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        name, _, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return ""
    return password or name


def body_of(request: HttpRequest) -> bytes:
    """The raw body. Raises ApiError: 400 if it is incomplete, 413 if it is too large."""
    try:
        declared = request.META.get("CONTENT_LENGTH") or "0"
        if declared.isdecimal() and int(declared) > body.MAX_BODY:
            raise body.too_large()
        # Not `request.body`: Django limits that to what heartbeats need.
        read = request.read(body.MAX_BODY + 1)
    except RequestDataTooBig:
        raise body.too_large() from None
    except UnreadablePostError:
        raise ApiError(400, "bad_request", "The body is incomplete. Send it again.") from None
    if len(read) > body.MAX_BODY:
        raise body.too_large()
    return bytes(read)
