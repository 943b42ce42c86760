"""Claude Code: logs `claude_code.*`, metrics `claude_code.*`, and spans in beta. Pure.

All three tell the same tokens, each on a track of its own. Its counts leave the cache out of the input; spans from
2.1.332 on have `gen_ai.usage.*` with it besides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from agents.doors.dialects import genai, reading
from agents.doors.dialects.reading import Attributes, count, text
from agents.doors.facts import Call, Counts, Fact, Origin, Step, Sum, Tool
from agents.doors.otlp.telemetry import Log, Point, Span

KIND: Final = "claude-code"
SCOPE: Final = "com.anthropic.claude_code"
PREFIX: Final = "claude_code."
PROVIDER: Final = "anthropic"
# Kinds of tokens in the metric, in our counts: the input includes the cache.
TOKEN_TYPES: Final[dict[str, Callable[[int], Counts]]] = {
    "input": lambda tokens: Counts(input=tokens),
    "output": lambda tokens: Counts(output=tokens),
    "cacheRead": lambda tokens: Counts(input=tokens, cache_read=tokens),
    "cacheCreation": lambda tokens: Counts(input=tokens, cache_write=tokens),
}


def claims(item: Span | Log | Point) -> bool:
    return item.scope.startswith(SCOPE) or _is_named(item)


def _is_named(item: Span | Log | Point) -> bool:
    name = item.metric if isinstance(item, Point) else reading.event_of(item) if isinstance(item, Log) else item.name
    return name.startswith(PREFIX)


def facts(item: Span | Log | Point) -> list[Fact]:
    if isinstance(item, Point):
        return _sums(item)
    return _from_log(item) if isinstance(item, Log) else _from_span(item)


# Spans


def _from_span(span: Span) -> list[Fact]:
    here = genai.origin(span, KIND, session=text(span.attributes, "session.id"), agent=_agent(span.attributes))
    match span.name.removeprefix(PREFIX):
        case "llm_request":
            return [_call(span.attributes, here, failed=span.failed, track="span")]
        case "tool" | "tool.execution":
            return [_tool_span(span, here)]
        case "interaction":
            return [Step(origin=here, kind="run", failed=span.failed, message=genai.failure(span))]
        case _:
            return [Step(origin=here, kind="step", is_open=True)]


def _call(given: Attributes, here: Origin, *, failed: bool, track: str) -> Call:
    return Call(
        origin=here,
        model=text(given, "model", "gen_ai.response.model", "gen_ai.request.model"),
        provider=text(given, "gen_ai.provider.name") or PROVIDER,
        counts=_counts(given),
        cost=_cost(given),
        ref=text(given, "request_id"),
        track="span" if track == "span" else "log",
        failure=text(given, "error", "error.type") or "failed" if failed else "",
        is_open=reading.asks_for_tool(text(given, "stop_reason")),
    )


def _counts(given: Attributes) -> Counts | None:
    """`gen_ai.usage.*` has the cache in the input; its own names say how much of it, too."""
    told, own = genai.counts(given), _own_counts(given)
    if told and own and not (told.cache_read or told.cache_write):
        return reading.inclusive(*told[:2], *own[2:4], told.reasoning)
    return told or own


def _own_counts(given: Attributes) -> Counts | None:
    """Input without cache. A call that failed has no counts."""
    taken, given_out = count(given, "input_tokens"), count(given, "output_tokens")
    if taken is None and given_out is None:
        return None
    read, written = count(given, "cache_read_tokens") or 0, count(given, "cache_creation_tokens") or 0
    return Counts((taken or 0) + read + written, given_out or 0, read, written)


def _cost(given: Attributes) -> float | None:
    micros = reading.amount(given.get("cost_usd_micros"))
    told = reading.usd(given, "cost_usd")
    return told if told is not None or micros is None else micros / 1_000_000


def _tool_span(span: Span, here: Origin) -> Tool:
    """The tool's span has its name, the span of its execution inside of it knows whether it failed."""
    given = span.attributes
    args = given.get("gen_ai.tool.call.arguments", given.get("tool_input"))
    is_execution = span.name.endswith("execution")
    return Tool(
        origin=here,
        name=text(given, "tool_name", "gen_ai.tool.name"),
        ref=text(given, "tool_use_id", "gen_ai.tool.call.id"),
        args=reading.shown(args),
        args_hash=reading.digest(args),
        ms=genai.duration(span),
        ok=not span.failed and reading.flag(given, "success") is not False if is_execution or span.failed else None,
    )


# Logs


def _from_log(log: Log) -> list[Fact]:
    given = log.attributes
    name = reading.event_of(log).removeprefix(PREFIX)
    ms = reading.amount(given.get("duration_ms")) or 0.0
    here = Origin(
        resource=log.resource,
        kind=KIND,
        scope=log.scope,
        session=text(given, "session.id"),
        start=max(0, log.at - int(min(ms, 1e9) * 1000)),
        end=log.at,
        agent=_agent(given),
    )
    match name:
        case "api_request":
            return [_call(given, here, failed=False, track="log")]
        case "api_error":
            return [Step(origin=here, kind="error", message=text(given, "error") or "API error", failed=True)]
        case "tool_result":
            return [_tool_result(given, here)]
        case "tool_decision":
            return [Step(origin=here, kind="decision", is_open=given.get("decision") == "accept")]
        case "user_prompt":
            return [Step(origin=here, kind="prompt", is_open=True)]
        case _:
            return []


def _tool_result(given: Attributes, here: Origin) -> Tool:
    args = given.get("tool_input", given.get("tool_parameters"))
    return Tool(
        origin=here,
        name=text(given, "tool_name"),
        ref=text(given, "tool_use_id"),
        args=reading.shown(args),
        args_hash=reading.digest(args),
        ms=reading.amount(given.get("duration_ms")),
        ok=reading.flag(given, "success"),
    )


# Metrics


def _sums(point: Point) -> list[Fact]:
    given, session = point.attributes, text(point.attributes, "session.id")
    told: Sum | None = None
    if point.metric == "claude_code.cost.usage":
        told = genai.metric_sum(point, KIND, cost=reading.amount(point.value) or 0.0, session=session)
    elif point.metric == "claude_code.token.usage" and text(given, "type") in TOKEN_TYPES:
        counts = TOKEN_TYPES[text(given, "type")](reading.whole(point.value) or 0)
        # Its price comes as a metric of its own.
        told = genai.metric_sum(point, KIND, counts, cost=0.0, session=session)
    if told is None:
        return []
    told.provider, told.origin.agent = PROVIDER, _agent(given)
    return [told]


def _agent(given: Attributes) -> str:
    """It repeats the resource's attributes on each item."""
    return text(given, "agent.name")
