"""`POST /mcp`: JSON-RPC without sessions and streams, in both generations of the protocol.

Clients of 2026-07-28 begin with `server/discover`, older ones with `initialize`. Answers have the keys of both.
"""

from __future__ import annotations

import json
from typing import Any, Final

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from agents.api.heartbeats import body_of
from agents.api.mcp.fitting import encoded, fitted, fitted_text
from agents.api.mcp.tools import TOOLS, Call
from agents.ingest.rate_limit import count_call
from agents.ingest.reporter import sender_of
from teams.auth import Caller, authenticate_key, key_from, require_scope
from teams.errors import ApiError

VERSIONS: Final = ("2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
OLDER: Final = "2025-11-25"
MAX_BODY: Final = 64 * 1024
MAX_ID: Final = 100  # bytes
INFO: Final = {"name": "clevagent-watchdog", "version": "1.0.0"}
CAPABILITIES: Final[dict[str, Any]] = {"tools": {}}
# The tools of a server version never change, whoever asks.
CACHED: Final = {"resultType": "complete", "ttlMs": 3_600_000, "cacheScope": "public"}
PARSE_ERROR, INVALID_REQUEST, UNKNOWN_METHOD, INVALID_PARAMS = -32700, -32600, -32601, -32602


class RpcError(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@csrf_exempt
@never_cache
@require_POST
def mcp(request: HttpRequest) -> HttpResponse:
    try:
        sent = request.headers
        key = key_from(sent.get("X-API-Key", ""), sent.get("Authorization", ""))
        caller = authenticate_key(key, request.META.get("REMOTE_ADDR", ""))
        count_call(caller, timezone.now())
        message = _message(body_of(request, MAX_BODY))
    except ApiError as refusal:
        return JsonResponse(refusal.body(), status=refusal.http_status, headers=refusal.headers())
    except RpcError as error:
        return _json(_error(None, error), status=400)
    if "id" not in message:
        return HttpResponse(status=202)
    return _json(_answer(message, caller, sender_of(request, caller)))


def _json(answer: dict[str, Any], status: int = 200) -> HttpResponse:
    # UTF-8, not escapes: those take up to three times the bytes.
    return HttpResponse(encoded(answer), status=status, content_type="application/json")


def _message(body: bytes) -> dict[str, Any]:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        raise RpcError(PARSE_ERROR, "The body is not JSON.") from None
    if not isinstance(message, dict) or not isinstance(message.get("method"), str):
        raise RpcError(INVALID_REQUEST, "Send one JSON-RPC request.")
    if "id" in message and not _is_id(message["id"]):
        raise RpcError(INVALID_REQUEST, "The ID must be a number or a short text.")
    return message


def _is_id(request_id: Any) -> bool:
    is_number = isinstance(request_id, int) and not isinstance(request_id, bool) and abs(request_id) < 2**63
    return is_number or (isinstance(request_id, str) and len(encoded(request_id)) <= MAX_ID)


def _answer(message: dict[str, Any], caller: Caller, source: str) -> dict[str, Any]:
    params = message.get("params")
    try:
        result = _result(message["method"], params if isinstance(params, dict) else {}, caller, source)
    except RpcError as error:
        return _error(message["id"], error)
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


def _error(request_id: Any, error: RpcError) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "error": {"code": error.code, "message": str(error)}}


def _result(method: str, params: dict[str, Any], caller: Caller, source: str) -> dict[str, Any]:
    if method == "initialize":
        asked = params.get("protocolVersion")
        version = asked if asked in VERSIONS else OLDER
        return {"protocolVersion": version, "capabilities": CAPABILITIES, "serverInfo": INFO}
    if method == "server/discover":
        meta = {"io.modelcontextprotocol/serverInfo": INFO}
        return {"supportedVersions": list(VERSIONS), "capabilities": CAPABILITIES, **CACHED, "_meta": meta}
    if method == "ping":
        return {}
    if method == "tools/list":
        return {"tools": [tool.described(name) for name, tool in TOOLS.items()], **CACHED}
    if method == "tools/call":
        return _called(params, caller, source)
    raise RpcError(UNKNOWN_METHOD, f"Unknown method {method[:100]}.")


def _called(params: dict[str, Any], caller: Caller, source: str) -> dict[str, Any]:
    """What a tool answers. Its refusals are results with `isError`, which the model reads."""
    tool, arguments = TOOLS.get(str(params.get("name"))), params.get("arguments") or {}
    if tool is None or not isinstance(arguments, dict):
        raise RpcError(INVALID_PARAMS, "Unknown tool, or arguments that are no object.")
    try:
        require_scope(caller, tool.scope, reading=tool.is_reading)
        text = fitted(tool.run(Call(caller, arguments, timezone.now(), source)))
    except ApiError as refusal:
        return _content(fitted_text(refusal.message), is_error=True)
    return _content(text, is_error=False)


def _content(text: str, *, is_error: bool) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}], "isError": is_error, "resultType": "complete"}
