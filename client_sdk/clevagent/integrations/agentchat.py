"""AutoGen AgentChat (autogen-agentchat): the messages of a run, watched on their way to the program.

async for message in monitored_stream(team, task="Analyze this data"): ...
result = await monitored_run(team, task="Analyze this data")
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
from clevagent.integrations.report import Calls, Pace, quiet

try:
    from autogen_core import EVENT_LOGGER_NAME
except ImportError as problem:
    raise report.missing("AutoGen AgentChat", "autogen-agentchat") from problem


def monitored_stream(runner: Any, **run: Any) -> AsyncIterator[Any]:
    """`runner.run_stream(**run)` of an agent or a team: the same messages, which are reported as they pass."""
    _listen()
    return report.passed_on(runner.run_stream(**run), _Watch().saw, partial(report.failed, "run"))


async def monitored_run(runner: Any, **run: Any) -> Any:
    """The same for a program that wants the result only, as from `runner.run(**run)`."""
    result = None
    async for message in monitored_stream(runner, **run):
        result = message
    return result


class _Watch:
    """What one run has said so far."""

    def __init__(self) -> None:
        self._calls = Calls()
        self._pace = Pace()

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
            self._pace.moves()
        elif kind != "TaskResult" and getattr(message, "source", "user") != "user":
            report.step(f"{message.source}: {kind}")


def _decoded(arguments: Any) -> Any:
    try:
        return json.loads(arguments)
    except (TypeError, ValueError):
        return arguments


class _Usage(logging.Filter):
    """Reads the model calls that AutoGen tells its event logger of, and lets on what would have gone on anyhow."""

    def __init__(self, level: int) -> None:
        super().__init__()
        self._level = level

    def filter(self, record: logging.LogRecord) -> bool:
        self._read(record)
        return record.levelno >= self._level

    @quiet
    def _read(self, record: logging.LogRecord) -> None:
        told = getattr(record.msg, "kwargs", None)
        if isinstance(told, dict) and told.get("type") in ("LLMCall", "LLMStreamEnd"):
            # The file that speaks to a provider lies in a folder of its name.
            _report(told, PurePath(record.pathname).parent.name)


def _report(told: dict[str, Any], sdk: str) -> None:
    """One model call; the end of a stream has no id, and of its tokens only two sums."""
    response = told.get("response") or {}
    said = response.get("usage") or {}
    counts = anthropic_counts if "cache_read_input_tokens" in said else openai_counts
    tokens = counts({**_sums_of(told), **{name: value for name, value in said.items() if value is not None}})
    model = response.get("model") or "unknown"
    report.usage(sdk=sdk, call_id=response.get("id"), model=model, provider=sdk, **tokens)


def _sums_of(told: dict[str, Any]) -> dict[str, Any]:
    return {name: told.get(name) or 0 for name in ("prompt_tokens", "completion_tokens")}


def _listen() -> None:
    """Once for the process. The event logger must be on for it; the filter keeps it from saying more than before."""
    logger = logging.getLogger(EVENT_LOGGER_NAME)
    if not any(isinstance(known, _Usage) for known in logger.filters):
        logger.addFilter(_Usage(logger.getEffectiveLevel()))
        logger.setLevel(min(logger.getEffectiveLevel(), logging.INFO))
