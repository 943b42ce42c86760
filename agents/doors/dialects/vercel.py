"""Vercel AI SDK up to 6: `ai.*`. Version 7 with @ai-sdk/otel speaks the GenAI conventions. Pure.

`ai.generateText.doGenerate` and its kin are the calls; `ai.generateText` around them repeats their sums.
"""

from __future__ import annotations

from typing import Final

from agents.doors.dialects import genai, reading
from agents.doors.dialects.reading import Attributes, count, text
from agents.doors.facts import Call, Fact, Origin, Tool
from agents.doors.otlp.telemetry import Log, Point, Span

OPERATION: Final = "ai.operationId"
TOOL: Final = "ai.toolCall"
SESSION: Final = ("ai.telemetry.metadata.sessionId", "session.id", "gen_ai.conversation.id")


def claims(item: Span | Log | Point) -> bool:
    return isinstance(item, Span) and OPERATION in item.attributes


def facts(span: Span) -> list[Fact]:
    operation = text(span.attributes, OPERATION)
    if operation == TOOL:
        return [_tool(span)]
    if ".do" in operation:
        return [_call(span)]
    return [genai.step(span, is_run=True, names=_agent(span.attributes))]


def _call(span: Span) -> Call:
    given = span.attributes
    return Call(
        origin=_origin(span),
        model=text(given, "ai.response.model", "gen_ai.response.model", "ai.model.id", "gen_ai.request.model"),
        asked=text(given, "ai.model.id", "gen_ai.request.model"),
        provider=text(given, "ai.model.provider", "gen_ai.system"),
        counts=reading.inclusive(
            count(given, "ai.usage.inputTokens", "ai.usage.promptTokens", "ai.usage.tokens", *genai.INPUT),
            count(given, "ai.usage.outputTokens", "ai.usage.completionTokens", *genai.OUTPUT),
            count(given, "ai.usage.inputTokenDetails.cacheReadTokens", "ai.usage.cachedInputTokens", *genai.CACHE_READ),
            count(given, "ai.usage.inputTokenDetails.cacheWriteTokens", *genai.CACHE_WRITE),
            count(given, "ai.usage.outputTokenDetails.reasoningTokens", "ai.usage.reasoningTokens", *genai.REASONING),
            total=count(given, "ai.usage.totalTokens"),
        ),
        ref=text(given, "gen_ai.response.id", "ai.response.id"),
        failure=genai.failure(span),
        is_open=reading.asks_for_tool(text(given, "ai.response.finishReason")),
    )


def _tool(span: Span) -> Tool:
    given = span.attributes
    args = given.get("ai.toolCall.args")
    return Tool(
        origin=_origin(span),
        name=text(given, "ai.toolCall.name") or span.name,
        ref=text(given, "ai.toolCall.id"),
        args=reading.shown(args),
        args_hash=reading.digest(args),
        result_hash=reading.digest(given.get("ai.toolCall.result")),
        ms=genai.duration(span),
        ok=not span.failed,
    )


def _origin(span: Span) -> Origin:
    return genai.origin(span, "otel", session=text(span.attributes, *SESSION), agent=_agent(span.attributes))


def _agent(given: Attributes) -> str:
    return text(given, "gen_ai.agent.name", "ai.telemetry.functionId", "resource.name")
