"""The GenAI conventions of OpenTelemetry, current and older: `gen_ai.*`. Pure.

Mastra, pydantic-ai, logfire and Vercel AI SDK 7 speak them, too, with additions of their own (`agent_step`,
`model_chunk`, `gen_ai.aggregated_usage.*`) that are no model calls.
"""

from __future__ import annotations

from typing import Final

from agents.doors.dialects import reading
from agents.doors.dialects.reading import Attributes, count, text
from agents.doors.facts import NOTHING, Call, Counts, Fact, Origin, Step, Sum, Tool
from agents.doors.otlp.telemetry import Log, Point, Span

CALLS: Final = {"chat", "text_completion", "generate_content", "embeddings", "llm_call"}
TOOLS: Final = {"execute_tool", "tool_call"}
RUNS: Final = {"invoke_agent", "invoke_workflow"}
# The SDK of Anthropic tells its calls itself, besides any instrumentation around it.
FIRST_HAND: Final = "com.anthropic.sdk."
OPERATION: Final = "gen_ai.operation.name"
SESSION: Final = ("gen_ai.conversation.id", "session.id", "traceloop.association.properties.thread_id")
AGENT: Final = ("gen_ai.main_agent.name", "gen_ai.main_agent.id", "gen_ai.agent.name", "agent.name", "gen_ai.agent.id")
INPUT: Final = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
OUTPUT: Final = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
CACHE_READ: Final = (
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_read_input_tokens",
    "gen_ai.usage.details.cache_read_tokens",
)
CACHE_WRITE: Final = (
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
    "gen_ai.usage.details.cache_write_tokens",
)
REASONING: Final = (
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.usage.reasoning_tokens",
    "llm.usage.reasoning_tokens",
    "gen_ai.usage.details.reasoning_tokens",
)
TOTAL: Final = ("gen_ai.usage.total_tokens", "llm.usage.total_tokens")
TOKENS_METRIC: Final = "gen_ai.client.token.usage"
COST_METRIC: Final = "operation.cost"
DETAILS: Final = "gen_ai.client.inference.operation.details"


def claims(item: Span | Log | Point) -> bool:
    if isinstance(item, Point):
        return item.metric in (TOKENS_METRIC, COST_METRIC)
    return OPERATION in item.attributes


def facts(item: Span | Log | Point) -> list[Fact]:
    if isinstance(item, Point):
        return _sums(item)
    if isinstance(item, Log):
        return _from_log(item)
    operation = text(item.attributes, OPERATION)
    if operation in CALLS:
        return [call(item)]
    if operation in TOOLS:
        return [tool(item)]
    return [step(item, is_run=operation in RUNS)]


def call(span: Span, kind: str = "otel") -> Call:
    """A span that is known to be a model call."""
    given = span.attributes
    return Call(
        origin=origin(span, kind),
        model=model(given),
        asked=text(given, "gen_ai.request.model"),
        provider=text(given, "gen_ai.provider.name", "gen_ai.system"),
        counts=counts(given),
        cost=reading.usd(given, "operation.cost"),
        ref=text(given, "gen_ai.response.id"),
        failure=failure(span),
        is_open=reading.asks_for_tool(given.get("gen_ai.response.finish_reasons") or text(given, FINISH)),
        is_first_hand=span.scope.startswith(FIRST_HAND),
    )


FINISH: Final = "gen_ai.completion.0.finish_reason"


def model(given: Attributes) -> str:
    return text(given, "gen_ai.response.model", "gen_ai.request.model")


def counts(given: Attributes) -> Counts | None:
    return reading.inclusive(
        count(given, *INPUT),
        count(given, *OUTPUT),
        count(given, *CACHE_READ),
        count(given, *CACHE_WRITE),
        count(given, *REASONING),
        total=count(given, *TOTAL),
    )


def tool(span: Span, kind: str = "otel") -> Tool:
    given = span.attributes
    args = given.get("gen_ai.tool.call.arguments", given.get("tool_arguments"))
    return Tool(
        origin=origin(span, kind),
        name=text(given, "gen_ai.tool.name") or span.name.removeprefix("execute_tool "),
        ref=text(given, "gen_ai.tool.call.id", "gen_ai.tool.call_id"),
        args=reading.shown(args),
        args_hash=reading.digest(args),
        result_hash=reading.digest(given.get("gen_ai.tool.call.result", given.get("tool_response"))),
        ms=duration(span),
        ok=not span.failed,
    )


def step(span: Span, *, is_run: bool, kind: str = "otel", names: str = "") -> Step:
    """A run of an agent, or a step of it; a run inside of another one is a step."""
    return Step(
        origin=origin(span, kind),
        kind="run" if is_run else "step",
        names=names or (text(span.attributes, *AGENT) if is_run else ""),
        message=failure(span),
        failed=span.failed,
        is_open=bool(span.parent),
    )


def origin(span: Span, kind: str, *, session: str = "", agent: str = "") -> Origin:
    return Origin(
        resource=span.resource,
        kind=kind,
        scope=span.scope,
        trace=span.trace,
        span=span.id,
        parent=span.parent,
        session=session or text(span.attributes, *SESSION),
        start=span.start,
        end=max(span.start, span.end),
        agent=agent or text(span.attributes, *AGENT),
    )


def failure(span: Span) -> str:
    """What went wrong, in the words of the span; empty if nothing did."""
    if not span.failed:
        return ""
    raised = [event.attributes for event in span.events if event.name == "exception"]
    told = text(raised[-1], "exception.message", "exception.type") if raised else ""
    return span.message or told or text(span.attributes, "error.type") or "failed"


def duration(span: Span) -> float | None:
    return (span.end - span.start) / 1000 if span.end >= span.start > 0 else None


def _from_log(log: Log) -> list[Fact]:
    """The event with a call's details, which repeats its span."""
    given = log.attributes
    if DETAILS not in (log.name, given.get("event.name")) or (found := counts(given)) is None:
        return []
    here = Origin(
        resource=log.resource,
        kind="otel",
        scope=log.scope,
        trace=log.trace,
        # The record belongs to a span, so that is where it stands in the tree; it has no id of its own.
        parent=log.span,
        session=text(given, *SESSION),
        start=log.at,
        end=log.at,
        agent=text(given, *AGENT),
    )
    return [
        Call(
            origin=here,
            model=model(given),
            asked=text(given, "gen_ai.request.model"),
            provider=text(given, "gen_ai.provider.name", "gen_ai.system"),
            counts=found,
            ref=text(given, "gen_ai.response.id"),
            is_open=reading.asks_for_tool(given.get("gen_ai.response.finish_reasons")),
        )
    ]


def _sums(point: Point) -> list[Fact]:
    given, value = point.attributes, reading.whole(point.value) or 0
    kind = text(given, "gen_ai.token.type")
    if point.metric == COST_METRIC:
        return [metric_sum(point, "otel", cost=reading.amount(point.value) or 0.0)]
    if kind in ("input", "output", "completion"):
        return [metric_sum(point, "otel", Counts(input=value) if kind == "input" else Counts(output=value))]
    return []


def metric_sum(
    point: Point, kind: str, counts: Counts = NOTHING, cost: float | None = None, *, session: str = ""
) -> Sum:
    """What a point tells, with the identity of its series."""
    given = point.attributes
    return Sum(
        origin=Origin(resource=point.resource, kind=kind, scope=point.scope, session=session, end=point.at),
        model=text(given, "gen_ai.request.model", "gen_ai.response.model", "model", "openclaw.model"),
        provider=text(given, "gen_ai.provider.name", "gen_ai.system", "openclaw.provider"),
        stream=(point.scope, point.metric, point.start, sorted((key, str(value)) for key, value in given.items())),
        at=point.at,
        cumulative=point.cumulative,
        counts=counts,
        cost=cost,
    )
