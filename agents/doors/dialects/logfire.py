"""logfire's instrumentations of the SDKs: the GenAI conventions, in older versions without the operation. Pure.

A stream has two spans, and only the second tells its usage.
"""

from __future__ import annotations

from typing import Final

from agents.doors.dialects import genai
from agents.doors.facts import Fact
from agents.doors.otlp.telemetry import Log, Point, Span

SCOPE: Final = "logfire"


def claims(item: Span | Log | Point) -> bool:
    return (
        isinstance(item, Span)
        and item.scope.startswith(SCOPE)
        and genai.OPERATION not in item.attributes
        and "gen_ai.request.model" in item.attributes
    )


def facts(span: Span) -> list[Fact]:
    return [genai.call(span)]
