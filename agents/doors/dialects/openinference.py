"""OpenInference (Arize Phoenix and many framework instrumentations): `openinference.span.kind` and `llm.*`. Pure."""

from __future__ import annotations

import re
from typing import Final

from agents.doors.dialects import genai, reading
from agents.doors.dialects.reading import count, text
from agents.doors.facts import Call, Counts, Fact, Step, Tool
from agents.doors.otlp.telemetry import Log, Point, Span

KIND: Final = "openinference.span.kind"
CALLS: Final = ("LLM", "EMBEDDING")
# The answer is recorded whole, so the id that providers give it stands at its beginning.
_ANSWER_ID: Final = re.compile(r'\{\s*"id":\s*"((?:chatcmpl-|resp_|msg_)[\w\-]+)"')


def claims(item: Span | Log | Point) -> bool:
    return isinstance(item, Span) and KIND in item.attributes


def facts(span: Span) -> list[Fact]:
    kind, operation = str(span.attributes.get(KIND)).upper(), text(span.attributes, genai.OPERATION)
    if kind in CALLS or operation in genai.CALLS:
        return [_call(span)]
    if kind == "TOOL" or operation in genai.TOOLS:
        return [_tool(span)]
    return [_step(span, is_run=kind == "AGENT" or operation in genai.RUNS)]


def _call(span: Span) -> Call:
    given = span.attributes
    answer = _ANSWER_ID.match(text(given, "output.value"))
    model = text(given, "llm.response.model_name", "llm.model_name", "llm.request.model_name", "embedding.model_name")
    return Call(
        origin=genai.origin(span, "otel", agent=text(given, "agent.name")),
        model=model or genai.model(given),
        asked=text(given, "llm.request.model_name", "gen_ai.request.model"),
        provider=text(given, "llm.provider", "llm.system", "gen_ai.provider.name", "gen_ai.system"),
        counts=_counts(span) or genai.counts(given),
        cost=reading.usd(given, "llm.cost.total", "operation.cost"),
        ref=answer[1] if answer else text(given, "gen_ai.response.id"),
        failure=genai.failure(span),
        is_open=reading.asks_for_tool(text(given, "llm.finish_reason")),
    )


def _counts(span: Span) -> Counts | None:
    given = span.attributes
    return reading.inclusive(
        count(given, "llm.token_count.prompt"),
        count(given, "llm.token_count.completion"),
        count(given, "llm.token_count.prompt_details.cache_read"),
        count(given, "llm.token_count.prompt_details.cache_write"),
        count(given, "llm.token_count.completion_details.reasoning"),
        total=count(given, "llm.token_count.total"),
    )


def _tool(span: Span) -> Tool:
    """`tool.parameters` is the schema or the arguments, so the arguments are the input."""
    given = span.attributes
    args = given.get("input.value")
    return Tool(
        origin=genai.origin(span, "otel", agent=text(given, "agent.name")),
        name=text(given, "tool.name", "gen_ai.tool.name") or span.name,
        ref=text(given, "tool.id", "tool_call.id", "gen_ai.tool.call.id"),
        args=reading.shown(args),
        args_hash=reading.digest(args),
        result_hash=reading.digest(given.get("output.value")),
        ms=genai.duration(span),
        ok=not span.failed,
    )


def _step(span: Span, *, is_run: bool) -> Step:
    names = text(span.attributes, "agent.name", "graph.node.id") if is_run else ""
    return genai.step(span, is_run=is_run, names=names)
