"""One file per dialect: spans, logs and metric points in, facts out. Pure.

A dialect is a module with `claims(item)` and `facts(item)`. The first that claims an item reads it, so those with marks
of their own come before the conventions that many follow.
"""

from __future__ import annotations

from typing import Any, Final

from agents.doors.dialects import (
    claude_code,
    codex,
    gemini_cli,
    genai,
    langfuse,
    logfire,
    mastra,
    openclaw,
    openinference,
    openllmetry,
    pydantic_ai,
    vercel,
)
from agents.doors.facts import Fact
from agents.doors.otlp.telemetry import Item

DIALECTS: Final[tuple[Any, ...]] = (
    *(claude_code, codex, gemini_cli, openclaw),
    *(langfuse, mastra, vercel, openinference, openllmetry),
    *(pydantic_ai, logfire, genai),
)


def facts_of(item: Item) -> list[Fact]:
    """What the item tells; nothing if no dialect knows it."""
    for dialect in DIALECTS:
        if dialect.claims(item):
            found: list[Fact] = dialect.facts(item)
            return found
    return []
