"""LiteLLM's proxy: its spend log and budget alerts become facts, a guardrail request names an agent. Pure.

`generic_api` posts an array of calls every few seconds; the alerting webhook posts one object.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from agents.doors.dialects import reading
from agents.doors.dialects.reading import text
from agents.doors.facts import Call, Counts, Fact, Origin, Step
from agents.doors.otlp.telemetry import Resource, storable

KIND: Final = "litellm"
NAME: Final = "LiteLLM"
# How a request names its agent: a header, or a tag of the request.
HEADERS: Final = ("x-agent", "x-clevagent-agent")
TAG: Final = re.compile(r"agent[:=]\s*(.+)", re.IGNORECASE)
# An end user that is data, such as the one that Claude Code sends, names nobody.
PLAIN: Final = re.compile(r"[^{}\[\]\"]{1,200}")


def facts(body: Any, agent: str, at: int) -> list[Fact]:
    """What a request says. `agent` is the name in its address; `at` when it was received, in microseconds."""
    items = body if isinstance(body, list) else [body]
    known = [item for item in items if isinstance(item, Mapping)]
    return [fact for item in known for fact in _facts(item, agent, at)]


def agent_of(request: Mapping[str, Any], agent: str) -> str:
    """The agent that a guardrail request is about. It shows neither tags nor the values of unknown headers."""
    own = _part(request, "additional_provider_specific_params")
    caller = _part(request, "request_data")
    return agent or text(own, "agent") or _of_key(caller, text(caller, "user_api_key_end_user_id"))


def _facts(item: Mapping[str, Any], agent: str, at: int) -> Iterable[Fact]:
    if text(item, "status") in ("success", "failure"):
        return [_call(item, agent)]
    return [_alert(item, agent, at)] if text(item, "event") else []


def _call(item: Mapping[str, Any], agent: str) -> Call:
    metadata = _part(item, "metadata")
    start, end = _micros(item, "startTime"), _micros(item, "endTime")
    failed = text(item, "status") == "failure"
    name = agent or _asked_for(item, metadata) or _of_key(metadata, text(item, "end_user"))
    return Call(
        origin=_origin(name, text(item, "trace_id"), start, end or start),
        model=storable(text(item, "model").rpartition("/")[2]) or "unknown",
        asked=storable(text(item, "model_group")),
        provider=storable(text(item, "custom_llm_provider")),
        counts=None if failed else _counts(item, _part(metadata, "usage_object")),
        cost=None if failed else reading.usd(item, "response_cost"),
        ref=storable(text(item, "id")),
        failure=storable(text(item, "error_str") or "The call failed.") if failed else "",
    )


def _counts(item: Mapping[str, Any], usage: Mapping[str, Any]) -> Counts | None:
    read = _number(_part(usage, "prompt_tokens_details"), "cached_tokens") or _number(usage, "cache_read_input_tokens")
    return reading.inclusive(
        _number(item, "prompt_tokens"),
        _number(item, "completion_tokens"),
        read,
        _number(usage, "cache_creation_input_tokens"),
        _number(_part(usage, "completion_tokens_details"), "reasoning_tokens"),
    )


def _alert(item: Mapping[str, Any], agent: str, at: int) -> Step:
    """An alert about a budget of LiteLLM's own."""
    name = agent or text(item, "key_alias") or KIND
    message = " ".join(text(item, "event_message").split())
    return Step(
        origin=_origin(name, "", at, at), kind="error", message=storable(f"LiteLLM: {message or item['event']}")
    )


def _origin(name: str, session: str, start: int, end: int) -> Origin:
    resource = Resource({"service.name": KIND, "agent.name": storable(name)})
    return Origin(resource=resource, kind=KIND, session=storable(session), start=start, end=end)


def _asked_for(item: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    headers = _part(metadata, "requester_custom_headers")
    tags = item.get("request_tags")
    tagged = [TAG.fullmatch(tag) for tag in (tags if isinstance(tags, list) else ()) if isinstance(tag, str)]
    named = [text(headers, name) for name in HEADERS] + [found[1] for found in tagged if found]
    return next((name for name in named if name), "")


def _of_key(holder: Mapping[str, Any], end_user: str) -> str:
    """The name of LiteLLM's key, else of its end user, else LiteLLM's own."""
    return text(holder, "user_api_key_alias") or (end_user if PLAIN.fullmatch(end_user) else "") or KIND


def _micros(item: Mapping[str, Any], name: str) -> int:
    return int(min(reading.amount(item.get(name)) or 0.0, 4e9) * 1_000_000)


def _number(holder: Mapping[str, Any], name: str) -> int | None:
    value = reading.amount(holder.get(name))
    return None if value is None else int(min(value, 1e12))


def _part(holder: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = holder.get(name)
    return value if isinstance(value, Mapping) else {}
