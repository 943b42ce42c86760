"""Mastra: the GenAI conventions; its generation, steps and chunks repeat the inferences inside of them. Pure."""

from __future__ import annotations

from typing import Final

from agents.doors.dialects import genai
from agents.doors.dialects.reading import text
from agents.doors.facts import Fact
from agents.doors.otlp.telemetry import Log, Point, Span

TYPE: Final = "mastra.span.type"
REPEATS: Final = {"model_generation", "model_step", "model_chunk"}
SESSION: Final = ("mastra.metadata.threadId", "mastra.metadata.sessionId", "mastra.metadata.runId")


def claims(item: Span | Log | Point) -> bool:
    return isinstance(item, Span) and TYPE in item.attributes


def facts(span: Span) -> list[Fact]:
    # Before the inferences had spans of their own, the generation was the call. Nested, the innermost counts.
    if text(span.attributes, TYPE) in REPEATS and text(span.attributes, genai.OPERATION) not in genai.CALLS:
        return [genai.step(span, is_run=False)]
    found = genai.facts(span)
    for fact in found:
        fact.origin.session = fact.origin.session or text(span.attributes, *SESSION)
    return found
