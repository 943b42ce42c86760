"""LangFuse's own SDK: `langfuse.observation.*`, without any `gen_ai.*`. Pure.

The agent is the one that the root observation names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from agents.doors.dialects import genai, reading
from agents.doors.dialects.reading import Attributes, count, text
from agents.doors.facts import Call, Counts, Fact, Origin, Step, Tool
from agents.doors.otlp.telemetry import Log, Point, Span

TYPE: Final = "langfuse.observation.type"
CALLS: Final = {"generation", "embedding"}
SESSION: Final = ("session.id", "langfuse.session.id", "langfuse.trace.session.id")
_INPUT: Final = ("prompt_tokens", "input_tokens", "input", "promptTokens", "inputTokens")
_OUTPUT: Final = ("completion_tokens", "output_tokens", "output", "completionTokens", "outputTokens")
_CACHE_READ: Final = ("cache_read_input_tokens", "input_cached_tokens", "input_cache_read", "cached_tokens")
_CACHE_WRITE: Final = ("cache_creation_input_tokens", "input_cache_creation", "cache_write_input_tokens")
_REASONING: Final = ("output_reasoning_tokens", "output_reasoning", "reasoning_tokens")


def claims(item: Span | Log | Point) -> bool:
    return isinstance(item, Span) and (TYPE in item.attributes or item.scope == "langfuse-sdk")


def facts(span: Span) -> list[Fact]:
    kind = text(span.attributes, TYPE).lower()
    if kind in CALLS:
        return [_call(span), *_root(span)]
    if kind == "tool":
        return [_tool(span), *_root(span)]
    return [_step(span, is_run=kind == "agent")]


def _root(span: Span) -> list[Fact]:
    return [] if span.parent else [_step(span, is_run=True)]


def _step(span: Span, *, is_run: bool) -> Step:
    failed = _failed(span)
    return Step(
        origin=_origin(span),
        kind="run" if is_run or not span.parent else "step",
        names="" if span.parent else text(span.attributes, "langfuse.trace.name") or span.name,
        message=_failure(span) if failed else "",
        failed=failed,
        is_open=bool(span.parent),
    )


def _failed(span: Span) -> bool:
    is_error = span.attributes.get("langfuse.observation.level") == "ERROR"
    return span.failed or (is_error and not span.is_control_flow(_told(span) or span.message))


def _failure(span: Span) -> str:
    return _told(span) or genai.failure(span) or "failed"


def _told(span: Span) -> str:
    return text(span.attributes, "langfuse.observation.status_message")


def _origin(span: Span) -> Origin:
    return genai.origin(span, "langfuse", session=text(span.attributes, *SESSION))


def _call(span: Span) -> Call:
    given = span.attributes
    costs = _object(given.get("langfuse.observation.cost_details"))
    return Call(
        origin=_origin(span),
        model=text(given, "langfuse.observation.model.name", "gen_ai.response.model", "gen_ai.request.model"),
        provider=text(given, "gen_ai.provider.name", "gen_ai.system"),
        counts=_counts(_object(given.get("langfuse.observation.usage_details"))) or genai.counts(given),
        cost=_cost(costs),
        ref=text(given, "gen_ai.response.id"),
        failure=_failure(span) if _failed(span) else "",
        is_open=reading.asks_for_tool(text(given, "langfuse.observation.metadata.finish_reason").strip('"')),
    )


def _object(value: Any) -> Mapping[str, Any]:
    """It writes objects as JSON texts."""
    try:
        parsed = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, Mapping) else {}


def _cost(costs: Attributes) -> float | None:
    total = reading.usd(costs, "total")
    parts = [part for part in map(reading.amount, costs.values()) if part is not None]
    return total if total is not None or not parts else sum(parts)


def _counts(usage: Attributes) -> Counts | None:
    """A provider's own usage, or LangFuse's kinds of tokens, whose `input` leaves the cache out.

    The total tells them apart where it is there.
    """
    taken, answered = count(usage, *_INPUT), count(usage, *_OUTPUT)
    into, out = _details(usage, "prompt", "input"), _details(usage, "completion", "output")
    nested = count(into, "cached_tokens", "cache_read")
    read = nested if nested is not None else count(usage, *_CACHE_READ)
    written, thought = count(usage, *_CACHE_WRITE), count(out, "reasoning_tokens")
    total = count(usage, "total_tokens", "total", "totalTokens")
    if nested is None and (read or written) and total != (taken or 0) + (answered or 0):
        taken = (taken or 0) + (read or 0) + (written or 0)
    apart = count(usage, *_REASONING) if thought is None else thought
    return reading.inclusive(taken, answered, read, written, apart, total=total)


def _details(usage: Attributes, *sides: str) -> Mapping[str, Any]:
    found = (_object(usage.get(f"{side}_tokens_details")) for side in sides)
    return next((details for details in found if details), {})


def _tool(span: Span) -> Tool:
    given = span.attributes
    args = given.get("langfuse.observation.input")
    return Tool(
        origin=_origin(span),
        name=span.name,
        ref=text(given, "langfuse.observation.metadata.tool_call_id", "gen_ai.tool.call.id").strip('"'),
        args=reading.shown(args),
        args_hash=reading.digest(args),
        result_hash=reading.digest(given.get("langfuse.observation.output")),
        ms=genai.duration(span),
        ok=not _failed(span),
    )
