"""Reads values from attributes, whatever type a client gave them. Pure."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from agents.domain.heartbeat import MAX_ARGS_LENGTH, MAX_COST, MAX_TOKENS
from agents.domain.redaction import redacted
from agents.doors.facts import Counts
from agents.doors.otlp.telemetry import Log

Attributes = Mapping[str, Any]
# Names, ids and messages; anything longer is none.
MAX_TEXT: Final = 2_000
# An answer that asks for a tool, in the words of every provider.
ASKS_FOR_TOOL: Final = {"tool_calls", "tool_call", "tool-calls", "tool_use", "function_call", "tool_uses"}
# What a client hides stands for any value, so it says nothing about repetition.
HIDDEN: Final = {"__REDACTED__", "<REDACTED>", "[REDACTED]", "REDACTED"}
# Parts of a tool's result that change although the result is the same: Codex numbers its output and times it, Gemini
# CLI names the process group, Claude Code the file with a large output.
_VOLATILE: Final = re.compile(
    r"(?im)^Chunk ID:.*$|^Wall time:.*$|^(?:Process Group PGID|Background PIDs|PID):.*$|^Original token count:.*$"
    r"|\bsession ID \d+|(?:/[\w.~\-]+)*/tool-results/[\w.\-]+|(?:/[\w.~\-]+)*/tmp/[\w.\-/]+"
)
_VOLATILE_KEYS: Final = {"tool_use_id", "call_id", "toolCallId", "duration_ms", "durationMs", "wall_time", "chunk_id"}


def event_of(log: Log) -> str:
    """The event's name: an attribute, since OTLP 1.6 also a field of the record; else its body."""
    return text(log.attributes, "event.name") or log.name or log.body


def text(attributes: Attributes, *names: str) -> str:
    """The first of these that is a text with something in it; numbers become text."""
    for name in names:
        value = attributes.get(name)
        if isinstance(value, str) and value:
            return value[:MAX_TEXT]
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
    return ""


def count(attributes: Attributes, *names: str) -> int | None:
    """The first of these that is a number of tokens, also as text."""
    for name in names:
        if name in attributes and (value := whole(attributes[name])) is not None:
            return value
    return None


def whole(value: Any) -> int | None:
    number = amount(value)
    return None if number is None else int(min(number, MAX_TOKENS))


def amount(value: Any) -> float | None:
    """A number that is not negative, also as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number >= 0 else None


def usd(attributes: Attributes, *names: str) -> float | None:
    """The first of these that is a price."""
    values = (amount(attributes.get(name)) for name in names)
    return next((min(value, MAX_COST) for value in values if value is not None), None)


def flag(attributes: Attributes, name: str) -> bool | None:
    """A yes or no, also as text."""
    value = attributes.get(name)
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower())
    return value if isinstance(value, bool) else None


def inclusive(
    input_tokens: int | None,
    output_tokens: int | None,
    cache_read: int | None = None,
    cache_write: int | None = None,
    reasoning: int | None = None,
    *,
    total: int | None = None,
) -> Counts | None:
    """Counts by our rule, from a client that may leave the cache out of the input or reasoning out of the output.

    None if it told neither input nor output. Cached tokens were left out of the input, and reasoning out of the output,
    if they exceed it, or if the total only adds up with them.
    """
    if input_tokens is None and output_tokens is None:
        return None
    read, written, thought = cache_read or 0, cache_write or 0, reasoning or 0
    taken, given = input_tokens or 0, output_tokens or 0
    cached = read + written
    if cached and (cached > taken or total == taken + cached + given):
        taken += cached
    if thought and (thought > given or total == taken + given + thought):
        given += thought
    return Counts(taken, given, read, written, thought)


def asks_for_tool(reasons: Any) -> bool:
    """Whether a finish reason, or one of several, says that the model wants a tool."""
    if isinstance(reasons, str):
        reasons = _parsed(reasons) if reasons.startswith("[") else [reasons]
    return isinstance(reasons, Iterable) and any(
        isinstance(reason, str) and reason.lower() in ASKS_FOR_TOOL for reason in reasons
    )


def shown(value: Any) -> str:
    """Arguments as people may see them: short and without secrets."""
    if value is None or (isinstance(value, str) and value in HIDDEN):
        return ""
    plain = value if isinstance(value, str) else json.dumps(value, default=str)
    return redacted(plain[: MAX_ARGS_LENGTH * 4])[:MAX_ARGS_LENGTH].replace("\x00", "")


def digest(value: Any) -> str | None:
    """A hash of arguments or a result without their volatile parts; None for what is missing or hidden."""
    if value is None or value == "" or (isinstance(value, str) and value in HIDDEN):
        return None
    parsed = _parsed(value) if isinstance(value, str) else value
    plain = json.dumps(_steady(parsed), sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.blake2b(plain.encode(), digest_size=12).hexdigest()


def _parsed(value: str) -> Any:
    """JSON by its content, so that spaces and the order of keys make no difference."""
    if value[:1] not in "{[":
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _steady(value: Any, depth: int = 16) -> Any:
    if isinstance(value, str):
        return _VOLATILE.sub("", value)
    if isinstance(value, Mapping) and depth:
        return {str(key): _steady(each, depth - 1) for key, each in value.items() if key not in _VOLATILE_KEYS}
    if isinstance(value, list | tuple) and depth:
        return [_steady(each, depth - 1) for each in value]
    return None if isinstance(value, Mapping | list | tuple) else value
