"""Model APIs of three providers, whose model calls one command again and again until that is denied."""

from __future__ import annotations

import json
from typing import Any, Final

from tests.model_server import ModelServer

COMMAND: Final = "echo same"
DENIED: Final = "holds this agent"
NUDGED: Final = "you are in a loop"
# A model that nobody stops ends by itself, so that the test fails instead of waiting.
MAX_CALLS: Final = 25


class LoopingModel(ModelServer):
    """`tokens` is the usage that it told, as input and output; `nudge` and `denial` are the texts that it was given."""

    def __init__(self) -> None:
        self.calls = 0
        self.tokens = (0, 0)
        self.nudge = self.denial = ""

    def decide(self, body: dict[str, Any], used: tuple[int, int]) -> str:
        """What it says, or nothing: then it calls the command."""
        self.tokens = (self.tokens[0] + used[0], self.tokens[1] + used[1])
        for text in _texts(body):
            self.nudge = self.nudge or (text if NUDGED in text else "")
            self.denial = self.denial or (text if DENIED in text else "")
        self.calls += 1
        if self.denial:
            return f"I was stopped: {self.denial}"
        return "Nobody stopped me." if self.calls > MAX_CALLS else ""


def _texts(value: Any) -> list[str]:
    """All texts in a JSON value."""
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in parts for text in _texts(part)]


def _events(events: list[dict[str, Any]]) -> tuple[str, bytes]:
    lines = (f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    return "text/event-stream", "".join(lines).encode()


class Anthropic(LoopingModel):
    def answer(self, body: dict[str, Any], path: str) -> tuple[str, bytes]:
        if "count_tokens" in path:
            return "application/json", b'{"input_tokens": 10}'
        if not any(tool.get("name") == "Bash" for tool in body.get("tools", ())):
            return self._told(body, {"type": "text", "text": "A title"}, used=(0, 0))
        said = self.decide(body["messages"], (100, 10))
        block: dict[str, Any] = {"type": "text", "text": said}
        if not said:
            tool = {"id": f"toolu_{self.calls}", "name": "Bash", "input": {"command": COMMAND}}
            block = {"type": "tool_use", **tool}
        return self._told(body, block, used=(100, 10))

    def _told(self, body: dict[str, Any], block: dict[str, Any], used: tuple[int, int]) -> tuple[str, bytes]:
        reason = "tool_use" if block["type"] == "tool_use" else "end_turn"
        message = {
            "id": f"msg_{self.calls}", "type": "message", "role": "assistant", "model": body["model"],
            "content": [], "stop_reason": None, "stop_sequence": None,
            "usage": {"input_tokens": used[0], "output_tokens": 0},
        }  # fmt: skip
        if not body.get("stream"):
            usage = {"input_tokens": used[0], "output_tokens": used[1]}
            whole = {**message, "content": [block], "stop_reason": reason, "usage": usage}
            return "application/json", json.dumps(whole).encode()
        empty, delta = {**block, "text": ""}, {"type": "text_delta", "text": block.get("text", "")}
        if reason == "tool_use":
            given = json.dumps(block["input"])
            empty, delta = {**block, "input": {}}, {"type": "input_json_delta", "partial_json": given}
        return _events([
            {"type": "message_start", "message": message},
            {"type": "content_block_start", "index": 0, "content_block": empty},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": used[1]}},
            {"type": "message_stop"},
        ])  # fmt: skip


class OpenAi(LoopingModel):
    """The Responses API."""

    ARGUMENTS: Final[dict[str, dict[str, Any]]] = {
        "shell": {"command": ["bash", "-lc", COMMAND]},
        "shell_command": {"command": COMMAND},
        "exec_command": {"cmd": COMMAND},
    }

    def answer(self, body: dict[str, Any], path: str) -> tuple[str, bytes]:
        if not path.endswith("/responses"):
            return "application/json", b'{"object": "list", "data": [], "models": []}'
        said = self.decide(body["input"], (100, 10))
        offered = [tool.get("name") for tool in body.get("tools", ())]
        name = next((tool for tool in self.ARGUMENTS if tool in offered), "")
        item: dict[str, Any] = {
            "type": "function_call", "id": f"fc_{self.calls}", "call_id": f"call_{self.calls}", "name": name,
            "arguments": json.dumps(self.ARGUMENTS.get(name, {})),
        }  # fmt: skip
        if said or not name:
            content = [{"type": "output_text", "text": said or f"No shell among {offered}."}]
            item = {"type": "message", "id": f"msg_{self.calls}", "role": "assistant", "content": content}
        answer: dict[str, Any] = {"id": f"resp_{self.calls}", "object": "response", "model": "gpt-5"}
        usage = {
            "input_tokens": 100, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 10,
            "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 110,
        }  # fmt: skip
        return _events([
            {"type": "response.created", "response": answer},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": {**answer, "status": "completed", "usage": usage}},
        ])  # fmt: skip


class Google(LoopingModel):
    def answer(self, body: dict[str, Any], path: str) -> tuple[str, bytes]:
        if "countTokens" in path:
            return "application/json", b'{"totalTokens": 10}'
        if "streamGenerateContent" not in path:
            return "application/json", json.dumps(self._chunk([{"text": "{}"}], (0, 0))).encode()
        said = self.decide(body["contents"], (100, 10))
        call = {"functionCall": {"name": "run_shell_command", "args": {"command": COMMAND}}}
        chunk = self._chunk([{"text": said} if said else call], (100, 10))
        return "text/event-stream", f"data: {json.dumps(chunk)}\n\n".encode()

    def _chunk(self, parts: list[Any], used: tuple[int, int]) -> dict[str, Any]:
        usage = {"promptTokenCount": used[0], "candidatesTokenCount": used[1], "totalTokenCount": sum(used)}
        candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}
        return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-2.5-flash"}
