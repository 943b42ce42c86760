"""Codex CLI: logs `codex.*`. Its spans and metrics are internal and repeat what the logs say. Pure."""

from __future__ import annotations

import re
from typing import Final

from agents.doors.dialects import reading
from agents.doors.dialects.reading import Attributes, count, text
from agents.doors.facts import Call, Fact, Origin, Step, Tool
from agents.doors.otlp.telemetry import Log, Point, Span

KIND: Final = "codex"
PREFIX: Final = "codex."
PROVIDER: Final = "openai"
# Its own services. A program of a user's, such as `codex-reviewer`, may speak another dialect.
SERVICE: Final = re.compile(r"codex([_-](exec|tui|cli|cli[_-]rs|app[_-]server|mcp([_-]server)?|vscode|sdk\w*))?")
# Answers after which nothing else runs.
REFUSED: Final = {"denied", "abort", "rejected", "reject"}


def claims(item: Span | Log | Point) -> bool:
    return (
        item.scope.startswith("codex_")
        or SERVICE.fullmatch(item.resource.text("service.name")) is not None
        or (isinstance(item, Log) and reading.event_of(item).startswith(PREFIX))
    )


def facts(item: Span | Log | Point) -> list[Fact]:
    return _from_log(item) if isinstance(item, Log) else []


def _from_log(log: Log) -> list[Fact]:
    given = log.attributes
    here = Origin(
        resource=log.resource,
        kind=KIND,
        scope=log.scope,
        session=text(given, "conversation.id"),
        start=log.at,
        end=log.at,
    )
    match reading.event_of(log).removeprefix(PREFIX):
        case "sse_event" | "websocket_event":
            return _call(given, here)
        case "api_request" | "websocket_request" if _is_failure(given):
            message = text(given, "error.message") or f"HTTP {text(given, 'http.response.status_code')}"
            return [Step(origin=here, kind="error", message=message, failed=True)]
        case "tool_result":
            return [_tool(given, here)]
        case "tool_decision":
            return [Step(origin=here, kind="decision", is_open=text(given, "decision").lower() not in REFUSED)]
        case "user_prompt":
            return [Step(origin=here, kind="prompt", is_open=True)]
        case _:
            return []


def _call(given: Attributes, here: Origin) -> list[Fact]:
    """Two events complete an answer; one has the counts."""
    counts = reading.inclusive(
        count(given, "input_token_count"),
        count(given, "output_token_count"),
        count(given, "cached_token_count"),
        count(given, "cache_write_token_count"),
        count(given, "reasoning_token_count"),
        # The attribute's name misleads: measured, it is the total.
        total=count(given, "tool_token_count"),
    )
    if counts is None:
        return []
    return [Call(origin=here, model=text(given, "model", "slug"), provider=PROVIDER, counts=counts, track="log")]


def _is_failure(given: Attributes) -> bool:
    status = count(given, "http.response.status_code") or 0
    return status >= 400 or bool(text(given, "error.message"))


def _tool(given: Attributes, here: Origin) -> Tool:
    args = given.get("arguments")
    return Tool(
        origin=here,
        name=text(given, "tool_name"),
        ref=text(given, "call_id"),
        args=reading.shown(args),
        args_hash=reading.digest(args),
        result_hash=reading.digest(given.get("output")),
        ms=reading.amount(given.get("duration_ms")),
        ok=reading.flag(given, "success"),
    )
