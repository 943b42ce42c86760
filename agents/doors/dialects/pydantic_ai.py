"""pydantic-ai: the GenAI conventions; in versions before 1 its runs and tools had no operation. Pure."""

from __future__ import annotations

from typing import Final

from agents.doors.dialects import genai
from agents.doors.dialects.reading import text
from agents.doors.facts import Fact
from agents.doors.otlp.telemetry import Log, Point, Span

SCOPE: Final = "pydantic-ai"
RUN: Final = ("agent_name", "gen_ai.agent.name")


def claims(item: Span | Log | Point) -> bool:
    return isinstance(item, Span) and item.scope.startswith(SCOPE) and genai.OPERATION not in item.attributes


def facts(span: Span) -> list[Fact]:
    given = span.attributes
    if "gen_ai.tool.name" in given:
        return [genai.tool(span)]
    if "model_name" in given or span.name.endswith("agent run"):
        return [genai.step(span, is_run=True, names=text(given, *RUN))]
    if "gen_ai.request.model" in given:
        return [genai.call(span)]
    return [genai.step(span, is_run=False)]
