"""Hooks for the REST framework, named in the settings: strict JSON, one error format, pagination."""

import logging
from typing import Any, Final

import msgspec
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404
from rest_framework import exceptions, parsers, status
from rest_framework.pagination import LimitOffsetPagination
from rest_framework.response import Response
from rest_framework.views import exception_handler

from teams.errors import ApiError

# Bytes. Heartbeats are read elsewhere; nothing else in the API is larger than a few KiB.
MAX_BODY: Final = 256 * 1024
log = logging.getLogger(__name__)


def too_large() -> ApiError:
    return ApiError(413, "too_large", f"The body is larger than {MAX_BODY // 1024} KiB.")


class Pages(LimitOffsetPagination):
    """`?limit=100&offset=0`; `limit` is at most 1,000."""

    default_limit = 100
    max_limit = 1000


class StrictJSONParser(parsers.JSONParser):
    """Standard JSON only: no NaN, no infinities, no lone surrogates, no nesting deep enough to exhaust the stack."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        body = stream.read(MAX_BODY + 1)
        if len(body) > MAX_BODY:
            raise too_large()
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise exceptions.ParseError(f"The body is not valid JSON: {error}.") from None


_CODES = {
    400: "bad_request",
    401: "invalid_key",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    415: "unsupported_media_type",
    422: "invalid",
    429: "rate_limited",
}


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler: one format for our errors and DRF's. Anything else is a bug and propagates."""
    if isinstance(error, RequestDataTooBig):
        error = too_large()
    if isinstance(error, ApiError):
        return Response(error.body(), status=error.http_status, headers=error.headers())
    if isinstance(error, OperationalError | InterfaceError):
        log.error("the database is not available: %s", error)
        error = ApiError(503, "busy", "The database is not available right now. Try again.", retry_after=2)
        return Response(error.body(), status=error.http_status, headers=error.headers())
    if isinstance(error, exceptions.ValidationError):
        return Response(_validation_body(error), status=status.HTTP_422_UNPROCESSABLE_ENTITY)
    response = exception_handler(error, context)
    if response is not None:
        message = "Not found." if isinstance(error, Http404) else _message(error)
        response.data = {"error": {"code": _CODES.get(response.status_code, "error"), "message": message}}
    return response


def _validation_body(error: exceptions.ValidationError) -> dict[str, Any]:
    detail = error.detail if isinstance(error.detail, dict) else {"body": error.detail}
    fields = {name: " ".join(_flatten(reasons)) for name, reasons in detail.items()}
    message = "; ".join(f"{name}: {reason}" for name, reason in fields.items())
    return ApiError(422, "invalid", message, fields=fields).body()


def _flatten(reasons: Any) -> list[str]:
    """DRF nests reasons as deeply as the value that was sent."""
    parts = reasons.values() if isinstance(reasons, dict) else reasons if isinstance(reasons, list) else None
    return [str(reasons)] if parts is None else [text for part in parts for text in _flatten(part)]


def _message(error: Exception) -> str:
    if isinstance(error, PermissionDenied):
        return str(error) or "You don't have permission to do this."
    return str(getattr(error, "detail", error))
