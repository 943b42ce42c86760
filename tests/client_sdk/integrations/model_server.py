"""A model provider for agents: if tools are offered, it calls one before it answers.

It calls the tool "broken" if the question mentions it, else the first one, and only once.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from tests.client_sdk.capture import model_server
from tests.client_sdk.capture.model_server import Answer, Json

ARGUMENTS = {"city": "Paris"}


class ToolServer(model_server.ModelServer):
    """`told` is the usage of each call in heartbeat fields, without models "unknown-…", whose answers are abandoned."""

    def __enter__(self) -> ToolServer:
        self.told: list[Json] = []
        super().__enter__()
        return self

    def answer(self, method: str, path: str, asked: Json) -> Answer:
        answer = super().answer(method, path, asked)
        if answer.said and not asked["model"].startswith("unknown"):
            self.told.append({name: value for name, value in asdict(answer.said).items() if value})
        return answer

    def _made(self, path: str, asked: Json, n: int, model: str) -> Answer:
        answer = super()._made(path, asked, n, model)
        tool = _wanted(asked)
        if tool is None:
            return answer
        if path.endswith("/responses"):
            return _responses(answer, tool, n)
        return _chat_stream(answer, tool, n) if answer.events else _chat(answer, tool, n)


def _wanted(asked: Json) -> str | None:
    offered = [tool.get("function", tool).get("name") for tool in asked.get("tools") or []]
    said = asked.get("messages") or asked.get("input") or []
    if not offered or not isinstance(said, list) or _is_answered(said):
        return None
    return "broken" if "broken" in offered and "broken" in json.dumps(said) else str(offered[0])


def _is_answered(said: list[Json]) -> bool:
    return any(item.get("role") == "tool" or item.get("type") == "function_call_output" for item in said)


def _call(tool: str, n: int) -> Json:
    return {"id": f"call-{n}", "type": "function", "function": {"name": tool, "arguments": json.dumps(ARGUMENTS)}}


def _chat(answer: Answer, tool: str, n: int) -> Answer:
    assert answer.body
    message = {"role": "assistant", "content": None, "tool_calls": [_call(tool, n)], "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls", "logprobs": None}
    return Answer(answer.said, {**answer.body, "choices": [choice]})


def _chat_stream(answer: Answer, tool: str, n: int) -> Answer:
    deltas: list[tuple[Json, Any]] = [
        ({"role": "assistant", "content": None, "tool_calls": [{"index": 0, **_call(tool, n)}]}, None),
        ({}, "tool_calls"),
    ]
    head = {name: value for name, value in answer.events[0].items() if name != "choices"}
    chunks = [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}]}
        for delta, reason in deltas
    ]
    sums = [event for event in answer.events if not event["choices"]]
    return Answer(answer.said, events=chunks + sums, ends_with_done=True)


def _responses(answer: Answer, tool: str, n: int) -> Answer:
    item = {"type": "function_call", "id": f"fc-{n}", "call_id": f"call-{n}", "name": tool, "status": "completed"}
    item["arguments"] = json.dumps(ARGUMENTS)
    if answer.body:
        return Answer(answer.said, {**answer.body, "output": [item]})
    body = {**answer.events[-1]["response"], "output": [item]}
    at = {"output_index": 0, "item_id": item["id"]}
    events: list[Json] = [
        answer.events[0],
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "arguments": ""}},
        {"type": "response.function_call_arguments.delta", **at, "delta": item["arguments"]},
        {"type": "response.function_call_arguments.done", **at, "arguments": item["arguments"], "name": tool},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": body},
    ]
    numbered = [{**event, "sequence_number": number} for number, event in enumerate(events)]
    return Answer(answer.said, events=numbered, named_events=True)
