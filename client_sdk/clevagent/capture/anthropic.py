"""Anthropic's SDK, from 0.18: messages and beta messages, also through Bedrock, Vertex and Foundry."""

from __future__ import annotations

import functools
from typing import Any

from clevagent.capture import gate, stainless, streams
from clevagent.capture.patch import Change
from clevagent.capture.stainless import Answer
from clevagent.capture.usage import anthropic_counts, report

MODULE = "anthropic._base_client"
# The last four are the same call on Bedrock and Vertex.
MESSAGES = ("/messages", "/invoke", "/invoke-with-response-stream", ":rawPredict", ":streamRawPredict")


def changes(module: Any) -> list[Change]:
    return [*stainless.changes(module, look), *gate.stainless(MESSAGES)(module)]


def look(answer: Answer) -> None:
    """Count the usage in this answer, if any."""
    what = answer.data.get("type")
    if what == "message" and answer.is_of(MESSAGES):
        _report(answer.provider, answer.data, answer.data.get("usage"))
    elif what == "message_start":
        message = answer.data.get("message") or {}
        _hold(answer, message, message.get("usage"))
    elif what == "message_delta":
        # Its counts are running totals and replace those of message_start.
        _hold(answer, {}, answer.data.get("usage"))
    elif what == "message_stop":
        streams.finish(answer.response)


def _hold(answer: Answer, message: dict[str, Any], usage: Any) -> None:
    if isinstance(usage, dict):
        streams.track(answer.response, usage, functools.partial(_report, answer.provider, message))


def _report(provider: str | None, message: dict[str, Any], usage: Any) -> None:
    if isinstance(usage, dict):
        counts = anthropic_counts(usage)
        report(model=message.get("model"), provider=provider, call_id=message.get("id"), counts=counts)
