"""OpenAI's SDK, from 1.0: chat, completions, embeddings and responses, of OpenAI and of whoever speaks its API."""

from __future__ import annotations

import functools
import weakref
from typing import Any

from clevagent.capture import litellm, stainless, streams
from clevagent.capture.patch import Change
from clevagent.capture.recent import Recent
from clevagent.capture.stainless import Answer
from clevagent.capture.usage import openai_counts, report
from clevagent.log import once

MODULE = "openai._base_client"
COMPLETIONS = ("/completions",)
RESPONSES = ("/responses", "/responses/compact")
EMBEDDINGS = ("/embeddings",)
HINT = (
    "clevagent: a chat stream was not asked for its usage, so its tokens may be unknown: "
    "pass stream_options={'include_usage': True} to have them counted"
)

# Responses that go on in the background say what they used only when they are asked for again.
_background = Recent()
_noted = Recent()
_counted: weakref.WeakSet[Any] = weakref.WeakSet()


def changes(module: Any) -> list[Change]:
    return stainless.changes(module, look)


def look(answer: Answer) -> None:
    """Count what this answer says was used, if anything."""
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
        # Some servers send running sums with every chunk; the one without choices is always the last.
        streams.hold(answer.response, usage, functools.partial(_report, answer.provider, data))
        if not data.get("choices"):
            streams.finish(answer.response)


def _note_caller(answer: Answer, call_id: Any) -> None:
    """Of each call once: who calls through this SDK and tells of it as well."""
    if call_id is None or call_id not in _noted:
        litellm.note_if_calling(answer)
    if call_id is not None:
        _noted.add(call_id)


def _is_stream(answer: Answer) -> bool:
    return "event-stream" in str(answer.response.headers.get("content-type"))


def _hint(answer: Answer) -> None:
    choices = answer.data.get("choices")
    is_end = isinstance(choices, list) and any(isinstance(each, dict) and each.get("finish_reason") for each in choices)
    if is_end and _is_stream(answer) and b'"include_usage"' not in answer.response.request.content:
        once(HINT)


def _response(answer: Answer, body: dict[str, Any]) -> None:
    """A body, or the one inside an event of a stream; those that were only looked up again were paid before."""
    call_id, usage = body.get("id"), body.get("usage")
    if isinstance(usage, dict):
        if answer.is_of(RESPONSES) or call_id in _background:
            # A compaction does not say its model.
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
    report(model=body.get("model"), provider=provider, call_id=body.get("id"), counts=openai_counts(usage))
