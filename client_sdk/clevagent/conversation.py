"""The tool calls in messages to a model: of OpenAI's chat and responses, and of Anthropic's SDK. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from clevagent.progress import hash_of

# Messages from the end in which new tool calls are looked for.
MAX_MESSAGES = 100


class ConversationCall(NamedTuple):
    """One tool call with its result. `args` and `result` are hashes."""

    id: str
    name: str
    args: str
    result: str


def tool_calls(messages: Any) -> list[ConversationCall]:
    """The calls that have a result, oldest first. Anything unknown is left out."""
    asked: dict[str, tuple[str, Any]] = {}
    found = []
    for part in _parts(messages):
        kind, key = part.get("type"), str(part.get("call_id") or part.get("tool_use_id") or part.get("id") or "")
        function = part.get("function")
        if isinstance(function, Mapping):
            asked[key] = (str(function.get("name")), function.get("arguments"))
        elif kind in ("tool_use", "function_call"):
            asked[key] = (str(part.get("name")), part.get("input") if kind == "tool_use" else part.get("arguments"))
        elif kind in ("tool_result", "function_call_output") and key in asked:
            name, args = asked[key]
            result = part.get("content") if kind == "tool_result" else part.get("output")
            found.append(ConversationCall(key, name, hash_of(args), hash_of(result)))
    return found


def _parts(messages: Any) -> Iterator[Mapping[str, Any]]:
    for message in messages[-MAX_MESSAGES:] if isinstance(messages, list) else ():
        if not isinstance(message, Mapping):
            continue
        if message.get("role") == "tool":
            # Of OpenAI's chat; the same in the shape of the others.
            yield {
                "type": "tool_result",
                "tool_use_id": message.get("tool_call_id"),
                "content": message.get("content"),
            }
        elif message.get("type") in ("function_call", "function_call_output"):
            yield message
        for name in ("tool_calls", "content"):
            inner = message.get(name)
            yield from (part for part in (inner if isinstance(inner, list) else ()) if isinstance(part, Mapping))
