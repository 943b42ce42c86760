"""Gemini CLI: logs `gemini_cli.*`, metrics `gemini_cli.*` and spans. Pure.

Its output leaves thoughts out, which are billed as output. The GenAI events among its logs repeat the calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from agents.doors.dialects import genai, reading
from agents.doors.dialects.reading import Attributes, count, text
from agents.doors.facts import Call, Counts, Fact, Origin, Step, Tool
from agents.doors.otlp.telemetry import Log, Point, Span

KIND: Final = "gemini-cli"
PREFIX: Final = "gemini_cli."
PROVIDER: Final = "google"
TOKENS_METRIC: Final = "gemini_cli.token.usage"
TOKEN_TYPES: Final[dict[str, Callable[[int], Counts]]] = {
    "input": lambda tokens: Counts(input=tokens),
    "output": lambda tokens: Counts(output=tokens),
    "cache": lambda tokens: Counts(cache_read=tokens),
    "thought": lambda tokens: Counts(output=tokens, reasoning=tokens),
    "tool": lambda tokens: Counts(input=tokens),
}


def claims(item: Span | Log | Point) -> bool:
    return (
        item.scope.startswith(KIND)
        or item.resource.text("service.name") == KIND
        or (isinstance(item, Log) and reading.event_of(item).startswith(PREFIX))
        or (isinstance(item, Point) and item.metric.startswith(PREFIX))
    )


def facts(item: Span | Log | Point) -> list[Fact]:
    if isinstance(item, Point):
        return _sums(item)
    return _from_log(item) if isinstance(item, Log) else _from_span(item)


def _from_span(span: Span) -> list[Fact]:
    operation = text(span.attributes, genai.OPERATION)
    if operation in genai.CALLS:
        call = genai.call(span, KIND)
        call.track, call.provider, call.origin = "span", PROVIDER, _here(span)
        return [call]
    if operation in genai.TOOLS:
        tool = genai.tool(span, KIND)
        tool.origin = _here(span)
        return [tool]
    return []


def _here(span: Span) -> Origin:
    """The agent's name on its spans is the same for everybody, so it names nobody."""
    here = genai.origin(span, KIND, session=_session(span.attributes, span))
    here.agent = ""
    return here


def _session(given: Attributes, item: Span | Log | Point) -> str:
    return text(given, "session.id", "gen_ai.conversation.id") or item.resource.text("session.id")


def _from_log(log: Log) -> list[Fact]:
    given = log.attributes
    ms = reading.amount(given.get("duration_ms")) or 0.0
    here = Origin(
        resource=log.resource,
        kind=KIND,
        scope=log.scope,
        session=_session(given, log),
        start=max(0, log.at - int(min(ms, 1e9) * 1000)),
        end=log.at,
    )
    match reading.event_of(log).removeprefix(PREFIX):
        case "api_response":
            return [_call(given, here)]
        case "api_error":
            message = text(given, "error", "error_message", "error.message") or "API error"
            return [Step(origin=here, kind="error", message=message, failed=True)]
        case "tool_call":
            return [_tool(given, here)]
        case "user_prompt":
            return [Step(origin=here, kind="prompt", is_open=True)]
        case _:
            return []


def _call(given: Attributes, here: Origin) -> Call:
    return Call(
        origin=here,
        model=text(given, "model"),
        provider=PROVIDER,
        counts=_counts(given),
        track="log",
        is_open=reading.asks_for_tool(given.get("finish_reasons")),
    )


def _counts(given: Attributes) -> Counts | None:
    taken, answered = count(given, "input_token_count"), count(given, "output_token_count")
    if taken is None and answered is None:
        return None
    thought, tools = count(given, "thoughts_token_count") or 0, count(given, "tool_token_count") or 0
    cached = count(given, "cached_content_token_count") or 0
    return Counts((taken or 0) + tools, (answered or 0) + thought, cached, 0, thought)


def _tool(given: Attributes, here: Origin) -> Tool:
    args = given.get("function_args")
    return Tool(
        origin=here,
        name=text(given, "function_name"),
        ref=text(given, "call_id", "tool_call_id"),
        args=reading.shown(args),
        args_hash=reading.digest(args),
        ms=reading.amount(given.get("duration_ms")),
        ok=reading.flag(given, "success"),
    )


def _sums(point: Point) -> list[Fact]:
    kind = text(point.attributes, "type")
    if point.metric != TOKENS_METRIC or kind not in TOKEN_TYPES:
        return []
    counts = TOKEN_TYPES[kind](reading.whole(point.value) or 0)
    told = genai.metric_sum(point, KIND, counts, session=_session(point.attributes, point))
    told.provider = PROVIDER
    return [told]
