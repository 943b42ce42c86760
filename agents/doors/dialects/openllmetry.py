"""OpenLLMetry (traceloop): `traceloop.*`, and model calls in the older GenAI names. Pure."""

from __future__ import annotations

from typing import Final

from agents.doors.dialects import genai, reading
from agents.doors.dialects.reading import text
from agents.doors.facts import Fact, Tool
from agents.doors.otlp.telemetry import Log, Point, Span

KIND: Final = "traceloop.span.kind"
REQUEST: Final = "llm.request.type"
CALLS: Final = {"chat", "completion", "embedding"}
RUNS: Final = {"workflow", "agent"}
WORKFLOW: Final = "traceloop.workflow.name"
# Its processor writes the workflow on the spans of other instrumentations, too.
MARKS: Final = (KIND, REQUEST, WORKFLOW)


def claims(item: Span | Log | Point) -> bool:
    return isinstance(item, Span) and any(name in item.attributes for name in MARKS)


def facts(span: Span) -> list[Fact]:
    given = span.attributes
    if text(given, REQUEST) in CALLS or text(given, genai.OPERATION) in genai.CALLS:
        call = genai.call(span)
        call.origin.agent = call.origin.agent or text(given, WORKFLOW)
        return [call]
    operation = text(given, genai.OPERATION)
    if given.get(KIND) == "tool" or operation in genai.TOOLS:
        return [_tool(span)]
    is_run = text(given, KIND) in RUNS or operation in genai.RUNS
    names = text(given, "gen_ai.agent.name", WORKFLOW, "traceloop.entity.name") if is_run else ""
    return [genai.step(span, is_run=is_run, names=names)]


def _tool(span: Span) -> Tool:
    given = span.attributes
    args = given.get("traceloop.entity.input", given.get("gen_ai.tool.call.arguments"))
    return Tool(
        origin=genai.origin(span, "otel", agent=text(given, "gen_ai.agent.name", WORKFLOW)),
        name=text(given, "traceloop.entity.name", "gen_ai.tool.name") or span.name,
        ref=text(given, "gen_ai.tool.call.id"),
        args=reading.shown(args),
        args_hash=reading.digest(args),
        result_hash=reading.digest(given.get("traceloop.entity.output", given.get("gen_ai.tool.call.result"))),
        ms=genai.duration(span),
        ok=not span.failed,
    )
