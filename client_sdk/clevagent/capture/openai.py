"""OpenAI's SDK, from 1.0: chat, completions, embeddings and responses, with OpenAI and compatible servers."""

from __future__ import annotations

import functools
import weakref
from typing import Any

from clevagent.capture import gate, litellm, stainless, streams
from clevagent.capture.patch import Change
from clevagent.capture.stainless import Answer
from clevagent.capture.usage import openai_counts, report
from clevagent.log import warn_once
from clevagent.recent import Recent

MODULE = "openai._base_client"
COMPLETIONS = ("/completions",)
RESPONSES = ("/responses", "/responses/compact")
EMBEDDINGS = ("/embeddings",)
HINT = (
    "clevagent: a chat stream does not include its usage, so its tokens may be unknown: "
    "pass stream_options={'include_usage': True} to count them"
)

# Background responses report their usage only when retrieved.
_background = Recent()
_noted = Recent()
_counted: weakref.WeakSet[Any] = weakref.WeakSet()


def changes(module: Any) -> list[Change]:
    return [*stainless.changes(module, look), *gate.stainless((*COMPLETIONS, *RESPONSES, *EMBEDDINGS))(module)]


def look(answer: Answer) -> None:
    """Count the usage in this answer, if any."""
    body = answer.data.get("response", answer.data)
    if isinstance(body, dict) and (body.get("object") == "response" or answer.is_of(RESPONSES)):
        _response(answer, body)
    elif answer.is_of(COMPLETIONS):
        _completion(answer)
    elif answer.is_of(EMBEDDINGS):
        _embedding(answer)


def _completion(answer: Answer) -> None:
    _note_caller(answer, answer.data.get("id"))
    data, usage = answer.data, answer.data.get("usage")
    if not isinstance(usage, dict):
        _hint(answer)
    elif "chunk" not in str(data.get("object")) and not _is_stream(answer):
        _report(answer.provider, data, usage)
    else:
        # Some servers send running totals with every chunk; a chunk without choices is always the last.
        streams.track(answer.response, usage, functools.partial(_report, answer.provider, data))
        if not data.get("choices"):
            streams.finish(answer.response)


def _note_caller(answer: Answer, call_id: Any) -> None:
    """Once per call, note whether LiteLLM made it, because LiteLLM reports it as well."""
    if call_id is None or call_id not in _noted:
        litellm.note_litellm_call(answer)
    if call_id is not None:
        _noted.add(call_id)


def _is_stream(answer: Answer) -> bool:
    return "event-stream" in str(answer.response.headers.get("content-type"))


def _hint(answer: Answer) -> None:
    choices = answer.data.get("choices")
    is_end = isinstance(choices, list) and any(isinstance(each, dict) and each.get("finish_reason") for each in choices)
    if is_end and _is_stream(answer) and b'"include_usage"' not in answer.response.request.content:
        warn_once(HINT)


def _response(answer: Answer, body: dict[str, Any]) -> None:
    """Handle a response, or one inside a stream event. One that is merely retrieved was counted before."""
    call_id, usage = body.get("id"), body.get("usage")
    if isinstance(usage, dict):
        if answer.is_of(RESPONSES) or call_id in _background:
            # A compaction does not name its model.
            _report(answer.provider, {**body, "model": body.get("model") or answer.asked_model}, usage)
    elif body.get("background") and answer.is_of(RESPONSES):
        _background.add(call_id)


def _embedding(answer: Answer) -> None:
    usage = answer.data.get("usage")
    is_new = answer.response not in _counted
    _counted.add(answer.response)
    if is_new and isinstance(usage, dict):
        _note_caller(answer, None)
        _report(answer.provider, {**answer.data, "id": None}, usage)


def _report(provider: str | None, body: dict[str, Any], usage: dict[str, Any]) -> None:
    counts = openai_counts(usage, body.get("service_tier"))
    report(model=body.get("model"), provider=provider, call_id=body.get("id"), counts=counts)
