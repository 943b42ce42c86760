"""A model API as Anthropic's, whose model calls one tool, then says that it is done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.model_server import ModelServer


class FakeModel(ModelServer):
    """`calls` is the tool with its input; `results` are the tool results that the model was given."""

    def __init__(self, tool: str, arguments: dict[str, Any]) -> None:
        self.tool, self.arguments = tool, arguments
        self.results: list[str] = []
        self.offered: set[str] = set()

    def answer(self, body: dict[str, Any], path: str) -> tuple[str, bytes]:
        if "count_tokens" in path:
            return "application/json", b'{"input_tokens": 10}'
        self.offered |= {tool["name"] for tool in body.get("tools", ())}
        self.results += _results(body["messages"][-1])
        is_asked = self.tool in self.offered and not self.results
        block = (
            {"type": "tool_use", "id": "toolu_1", "name": self.tool, "input": self.arguments}
            if is_asked
            else {"type": "text", "text": "Done."}
        )
        reason = "tool_use" if is_asked else "end_turn"
        if not body.get("stream"):
            return "application/json", json.dumps({**_message([block]), "stop_reason": reason}).encode()
        events = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in _events(block, reason))
        return "text/event-stream", events.encode()


def _results(message: dict[str, Any]) -> list[str]:
    blocks = message["content"] if isinstance(message["content"], list) else []
    return [json.dumps(block["content"]) for block in blocks if block.get("type") == "tool_result"]


def _message(content: list[Any]) -> dict[str, Any]:
    usage = {"input_tokens": 10, "output_tokens": 5}
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-test", "content": content,
        "stop_reason": None, "stop_sequence": None, "usage": usage,
    }  # fmt: skip


def _events(block: dict[str, Any], reason: str) -> Iterator[dict[str, Any]]:
    is_tool = block["type"] == "tool_use"
    delta = (
        {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        if is_tool
        else {"type": "text_delta", "text": block["text"]}
    )
    yield {"type": "message_start", "message": _message([])}
    empty = {**block, "input": {}} if is_tool else {**block, "text": ""}
    yield {"type": "content_block_start", "index": 0, "content_block": empty}
    yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    yield {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 5}}
    yield {"type": "message_stop"}
