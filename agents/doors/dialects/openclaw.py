"""OpenClaw's plugin diagnostics-otel: metrics and spans `openclaw.*`. Pure.

`openclaw.model.usage` tells a call's tokens once; other spans and `gen_ai.client.token.usage` repeat them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from agents.doors.dialects import genai, reading
from agents.doors.dialects.reading import Attributes, count, text
from agents.doors.facts import Call, Counts, Fact, Origin, Step, Tool
from agents.doors.otlp.telemetry import Log, Point, Span

KIND: Final = "openclaw"
PREFIX: Final = "openclaw."
# `prompt` and `total` repeat the others.
TOKEN_TYPES: Final[dict[str, Callable[[int], Counts]]] = {
    "input": lambda tokens: Counts(input=tokens),
    "output": lambda tokens: Counts(output=tokens),
    "cache_read": lambda tokens: Counts(input=tokens, cache_read=tokens),
    "cache_write": lambda tokens: Counts(input=tokens, cache_write=tokens),
}
TROUBLE: Final = {
    "openclaw.tool.loop": "OpenClaw reports a tool loop",
    "openclaw.session.stuck": "OpenClaw reports a stuck session",
}


def claims(item: Span | Log | Point) -> bool:
    name = item.metric if isinstance(item, Point) else item.name
    return item.scope.startswith(KIND) or name.startswith(PREFIX) or item.resource.text("service.name") == KIND


def facts(item: Span | Log | Point) -> list[Fact]:
    if isinstance(item, Point):
        return _from_point(item)
    return [] if isinstance(item, Log) else _from_span(item)


def _agent(given: Attributes) -> str:
    return text(given, "openclaw.agent", "openclaw.agentId", "gen_ai.agent.name")


def _from_point(point: Point) -> list[Fact]:
    given = point.attributes
    if point.metric in TROUBLE and point.value > 0:
        here = Origin(resource=point.resource, kind=KIND, scope=point.scope, end=point.at, agent=_agent(given))
        return [Step(origin=here, kind="error", message=TROUBLE[point.metric], failed=True)]
    kind = text(given, "openclaw.token", "type")
    if point.metric == "openclaw.tokens" and kind in TOKEN_TYPES:
        # Its price comes as a metric of its own.
        told = genai.metric_sum(point, KIND, TOKEN_TYPES[kind](reading.whole(point.value) or 0), cost=0.0)
    elif point.metric == "openclaw.cost.usd":
        told = genai.metric_sum(point, KIND, cost=reading.amount(point.value) or 0.0)
    else:
        return []
    told.origin.agent = _agent(given)
    return [told]


def _from_span(span: Span) -> list[Fact]:
    given = span.attributes
    session = text(given, "openclaw.sessionKey", "openclaw.sessionId", *genai.SESSION)
    here = genai.origin(span, KIND, session=session, agent=_agent(given))
    if span.name == "openclaw.model.usage":
        return [_call(span, here)]
    if span.name.startswith("openclaw.tool") or text(given, genai.OPERATION) in genai.TOOLS:
        return [_tool(span, here)]
    is_run = span.name in ("openclaw.run", "openclaw.message.processed", "openclaw.request")
    return [
        Step(
            origin=here,
            kind="run" if is_run else "step",
            message=genai.failure(span),
            failed=span.failed,
            is_open=bool(span.parent),
        )
    ]


def _call(span: Span, here: Origin) -> Call:
    given = span.attributes
    return Call(
        origin=here,
        model=text(given, "openclaw.model", "gen_ai.response.model", "gen_ai.request.model"),
        provider=text(given, "openclaw.provider", "gen_ai.provider.name", "gen_ai.system"),
        counts=genai.counts(given) or _counts(given),
        cost=reading.usd(given, "openclaw.cost.usd", "openclaw.cost_usd"),
        track="span",
        failure=genai.failure(span),
    )


def _counts(given: Attributes) -> Counts | None:
    taken, answered = count(given, "openclaw.tokens.input"), count(given, "openclaw.tokens.output")
    if taken is None and answered is None:
        return None
    read, written = count(given, "openclaw.tokens.cache_read") or 0, count(given, "openclaw.tokens.cache_write") or 0
    return Counts((taken or 0) + read + written, answered or 0, read, written)


def _tool(span: Span, here: Origin) -> Tool:
    tool = genai.tool(span, KIND)
    tool.origin = here
    tool.name = text(span.attributes, "openclaw.toolName", "openclaw.tool", "gen_ai.tool.name") or tool.name
    tool.ref = tool.ref or text(span.attributes, "openclaw.toolCallId")
    return tool
