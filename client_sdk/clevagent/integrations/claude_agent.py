"""Claude Agent SDK: hooks for tools, and messages reported as they pass.

async for message in watched(query(prompt="Fix the tests", options=watched_options())): ...
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

import clevagent
from clevagent.capture.usage import anthropic_counts
from clevagent.integrations import report
from clevagent.integrations.report import OpenCalls, StreamProgress, quiet

try:
    from claude_agent_sdk import AssistantMessage, ClaudeAgentOptions, HookMatcher, ResultMessage
except ImportError as problem:
    raise report.not_installed("The Claude Agent SDK", "claude-agent-sdk") from problem

Totals = dict[str, dict[str, Any]]
CACHED = ("cacheReadInputTokens", "cacheCreationInputTokens")
SUMMED = ("inputTokens", "outputTokens", "thinkingTokens", *CACHED, "costUSD")
# Per client, because its process reports running totals across all its answers.
_totals: weakref.WeakKeyDictionary[Any, Totals] = weakref.WeakKeyDictionary()


def watched_options(options: Any = None) -> Any:
    """Return a copy of the options with hooks that report every tool call and decide nothing."""
    options = options or ClaudeAgentOptions()
    hooks = {event: list(matchers) for event, matchers in (options.hooks or {}).items()}
    reporter = _Tools()
    for event, hook in (
        ("PreToolUse", reporter.begins),
        ("PostToolUse", reporter.ended),
        ("PostToolUseFailure", reporter.failed),
    ):
        hooks.setdefault(event, []).append(HookMatcher(hooks=[hook]))
    return dataclasses.replace(options, hooks=hooks)


def watched(messages: AsyncIterable[Any], client: Any = None) -> AsyncIterator[Any]:
    """Return the same messages, and report their steps, errors and model usage.

    messages: from `query(…)`, or from a client's `receive_response()` and similar; then pass the `client` as well.
    """
    totals: Totals = {} if client is None else _totals.setdefault(client, {})
    watch = _Watch(totals)
    return report.watch_messages(messages, watch.saw, watch.broke)


class _Tools:
    """The hooks. An empty answer expresses no decision."""

    def __init__(self) -> None:
        self._calls = OpenCalls()

    async def begins(self, hook: Any, tool_use_id: str | None, context: Any) -> dict[str, Any]:
        self._begin(hook)
        return {}

    async def ended(self, hook: Any, tool_use_id: str | None, context: Any) -> dict[str, Any]:
        self._end(hook, hook.get("tool_response"), ok=True)
        return {}

    async def failed(self, hook: Any, tool_use_id: str | None, context: Any) -> dict[str, Any]:
        self._end(hook, hook.get("error"), ok=False)
        return {}

    @quiet
    def _begin(self, hook: Any) -> None:
        self._calls.begin(hook.get("tool_use_id"), hook["tool_name"], hook.get("tool_input"))

    @quiet
    def _end(self, hook: Any, result: Any, ok: bool) -> None:
        if not self._calls.end(hook.get("tool_use_id"), result, ok=ok):
            args, ms = hook.get("tool_input"), hook.get("duration_ms")
            clevagent.log_tool_call(hook["tool_name"], args=args, result=result, ms=ms, ok=ok)


class _Watch:
    """The state of one message stream."""

    def __init__(self, totals: Totals) -> None:
        self._totals = totals
        self._stream = StreamProgress()
        self._answer: str | None = None
        self._model = "unknown"
        self._has_failed = False

    @quiet
    def saw(self, message: Any) -> None:
        self._stream.report()
        if isinstance(message, AssistantMessage):
            self._answered(message)
        elif isinstance(message, ResultMessage):
            self._ended(message)

    def broke(self, problem: Exception) -> None:
        """After an error result the process exits with an error too, and the SDK raises what was already reported."""
        if not self._has_failed:
            report.failed("Claude", problem)

    def _answered(self, message: Any) -> None:
        """One model answer arrives as several messages, one per content block."""
        self._model = message.model
        answer = getattr(message, "message_id", None)
        if answer is None or answer != self._answer:
            self._answer = answer
            report.step(f"{message.model} answered")

    def _ended(self, result: Any) -> None:
        models = getattr(result, "model_usage", None) or {}
        call_id = getattr(result, "uuid", None)
        for name, used in models.items():
            self._count(name, used, call_id and f"{call_id}:{name}")
        if not models and result.usage:
            counts: dict[str, Any] = {**anthropic_counts(result.usage)}
            report.usage(model=self._model, provider="anthropic", **counts)
        self._has_failed = bool(result.is_error)
        if result.is_error:
            message = "; ".join(getattr(result, "errors", None) or []) or result.result or result.subtype
            report.error("Claude failed", message)

    def _count(self, name: str, used: Any, call_id: str | None) -> None:
        """Report the increase since the last total. A smaller total comes from a new process and counts in full."""
        before = self._totals.get(name, {})
        if used.get("outputTokens", 0) < before.get("outputTokens", 0):
            before = {}
        self._totals[name] = dict(used)
        more = {field: max(0, (used.get(field) or 0) - (before.get(field) or 0)) for field in SUMMED}
        read, write = (more[field] for field in CACHED)
        report.usage(
            model=used.get("canonicalModel") or name,
            provider="anthropic",
            input_tokens=more["inputTokens"] + read + write,
            output_tokens=more["outputTokens"],
            cache_read_tokens=read,
            cache_write_tokens=write,
            reasoning_tokens=more["thinkingTokens"],
            cost_usd=round(more["costUSD"], 9) or None,
            call_id=call_id,
        )
