"""Google's SDK (google-genai), from 1.0: generate_content, streams and chats, on the Gemini API and Vertex."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Callable

from clevagent.capture import streams
from clevagent.capture.patch import Change, Patch
from clevagent.capture.usage import google_counts, report

MODULE = "google.genai.types"
# Seconds of silence after which a stream counts as abandoned.
SILENCE = 60.0


def changes(module: Any) -> list[Change]:
    """Every answer and every chunk of a stream passes through one class method."""
    return [Patch(module.GenerateContentResponse, "_from_response", {"response", "kwargs"}, look)]


def look(_: Any, call: dict[str, Any]) -> None:
    """Count the usage in this answer or chunk, if it is the last."""
    body, asked = call["response"], call["kwargs"]
    usage = _either(body, "usageMetadata", "usage_metadata")
    if not isinstance(usage, Mapping):
        return
    call_id = _either(body, "responseId", "response_id")
    model = _either(body, "modelVersion", "model_version") or _either(asked or {}, "model", "model")

    def report_usage(sums: dict[str, Any]) -> None:
        name = str(model or "").rpartition("/")[2]
        report(model=name, provider="google", call_id=call_id, counts=google_counts(sums))

    if not call_id and _is_last(body):
        report_usage(dict(usage))
    elif call_id:
        key = f"google {call_id}"
        streams.track_key(key, dict(usage), report_usage, _silent_since(time.monotonic()))
        if _is_last(body):
            streams.finish(key)


def _is_last(body: Mapping[str, Any]) -> bool:
    """Old releases drop the id; without it, only a chunk with a finish reason is known to be the last."""
    candidates = body.get("candidates") or []
    return not candidates or any(_either(each, "finishReason", "finish_reason") for each in candidates)


def _silent_since(moment: float) -> Callable[[], bool]:
    return lambda: time.monotonic() - moment > SILENCE


def _either(body: Mapping[str, Any], first: str, second: str) -> Any:
    return body.get(first) or body.get(second)
