"""AutoGen AgentChat (autogen-agentchat): reports the messages of a run as they pass.

async for message in monitored_stream(team, task="Analyze this data"): ... result = await monitored_run(team,
task="Analyze this data")
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from functools import partial
from pathlib import PurePath
from typing import Any

from clevagent.capture.usage import anthropic_counts, openai_counts
from clevagent.integrations import report
from clevagent.integrations.report import OpenCalls, StreamProgress, quiet

try:
    from autogen_core import EVENT_LOGGER_NAME
except ImportError as problem:
    raise report.not_installed("AutoGen AgentChat", "autogen-agentchat") from problem


def monitored_stream(runner: Any, **run: Any) -> AsyncIterator[Any]:
    """Return the messages of `runner.run_stream(**run)`, for an agent or a team, and report them as they pass."""
    _listen()
    return report.watch_messages(runner.run_stream(**run), _Watch().saw, partial(report.failed, "run"))


async def monitored_run(runner: Any, **run: Any) -> Any:
    """Like `monitored_stream`, but return only the result, like `runner.run(**run)`."""
    result = None
    async for message in monitored_stream(runner, **run):
        result = message
    return result


class _Watch:
    """The state of one run."""

    def __init__(self) -> None:
        self._calls = OpenCalls()
        self._stream = StreamProgress()

    @quiet
    def saw(self, message: Any) -> None:
        kind = type(message).__name__
        if kind == "ToolCallRequestEvent":
            for call in message.content:
                self._calls.begin(call.id, call.name, _decoded(call.arguments))
        elif kind == "ToolCallExecutionEvent":
            for done in message.content:
                self._calls.end(done.call_id, done.content, ok=not done.is_error)
        elif kind == "ModelClientStreamingChunkEvent":
            self._stream.report()
        elif kind != "TaskResult" and getattr(message, "source", "user") != "user":
            report.step(f"{message.source}: {kind}")


def _decoded(arguments: Any) -> Any:
    try:
        return json.loads(arguments)
    except (TypeError, ValueError):
        return arguments


class _Usage(logging.Filter):
    """Reads model calls from AutoGen's event logger, and passes on only what was visible before."""

    def __init__(self, level: int) -> None:
        super().__init__()
        self._level = level

    def filter(self, record: logging.LogRecord) -> bool:
        self._read(record)
        return record.levelno >= self._level

    @quiet
    def _read(self, record: logging.LogRecord) -> None:
        event = getattr(record.msg, "kwargs", None)
        if isinstance(event, dict) and event.get("type") in ("LLMCall", "LLMStreamEnd"):
            # The module that calls a provider is in a folder of the provider's name.
            _report(event, PurePath(record.pathname).parent.name)


def _report(event: dict[str, Any], sdk: str) -> None:
    """Report one model call. The end of a stream has no id, and only two token totals."""
    response = event.get("response") or {}
    usage = response.get("usage") or {}
    counts = anthropic_counts if "cache_read_input_tokens" in usage else openai_counts
    tokens = counts({**_sums_of(event), **{name: value for name, value in usage.items() if value is not None}})
    model = response.get("model") or "unknown"
    report.usage(sdk=sdk, call_id=response.get("id"), model=model, provider=sdk, **tokens)


def _sums_of(event: dict[str, Any]) -> dict[str, Any]:
    return {name: event.get(name) or 0 for name in ("prompt_tokens", "completion_tokens")}


def _listen() -> None:
    """Install the filter once per process. The logger must be enabled; the filter keeps its output unchanged."""
    logger = logging.getLogger(EVENT_LOGGER_NAME)
    if not any(isinstance(known, _Usage) for known in logger.filters):
        logger.addFilter(_Usage(logger.getEffectiveLevel()))
        logger.setLevel(min(logger.getEffectiveLevel(), logging.INFO))
