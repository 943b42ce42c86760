"""A model provider on 127.0.0.1 that speaks the formats of OpenAI, Anthropic and Google, and records what it reported.

A request for model M is answered as M-served, because the answer's model must be counted. No two answers have equal
counts. For models named "unknown-…" the caller never reads the counts; streams of "left-…" it abandons immediately.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Use:
    """One call in the fields of a heartbeat: input includes cached tokens, output includes reasoning."""

    model: str
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int

    @classmethod
    def number(cls, n: int, model: str) -> Use:
        return cls(f"{model}-served", 1000 + 7 * n, 500 + 3 * n, 100 + n, 50 + n, 20 + n)


@dataclass
class Answer:
    """A JSON body or stream events; `said` is the reported usage, or None if there is none."""

    said: Use | None
    body: Json | None = None
    events: list[Json] = field(default_factory=list)
    named_events: bool = False
    ends_with_done: bool = False


class ModelServer:
    """Running inside the `with` block: `url`, and `said`, the usage reported for each requested model."""

    def __enter__(self) -> ModelServer:
        self.said: dict[str, list[Json]] = {}
        self._lock, self._count = threading.Lock(), 0
        self._later: dict[str, Answer] = {}
        self._http = _Server(("127.0.0.1", 0), _handler_of(self))
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()

    def answer(self, method: str, path: str, asked: Json) -> Answer:
        with self._lock:
            self._count += 1
            n = self._count
        if method == "GET":
            return self._later[path.rpartition("/")[2]]
        model = asked.setdefault("model", path.rpartition("/models/")[2].partition(":")[0])
        answer = self._made(path, asked, n, model)
        if answer.said and not model.startswith("unknown"):
            with self._lock:
                calls = self.said.setdefault(model, [])
                calls.append(counted(answer.said))
                calls.sort(key=lambda counts: counts["input_tokens"])
        return answer

    def _made(self, path: str, asked: Json, n: int, model: str) -> Answer:
        use = Use.number(n, model)
        if path.endswith("/chat/completions"):
            return chat(asked, n, use)
        if path.endswith("/completions"):
            return text(n, use)
        if path.endswith("/embeddings"):
            return embeddings(use)
        if path.endswith("/responses"):
            return self._responses(asked, n, use)
        if path.endswith(("/messages", "awPredict")):
            return messages(asked, n, use)
        return google(path, asked, n, use)

    def _responses(self, asked: Json, n: int, use: Use) -> Answer:
        answer = responses(asked, n, use)
        if answer.body:
            self._later[answer.body["id"]] = Answer(None, answer.body)
        if asked.get("background") and answer.body:
            queued = {**answer.body, "status": "queued", "usage": None, "background": True, "output": []}
            return Answer(answer.said, queued)
        return answer


def counted(use: Use) -> Json:
    """The expected usage, without counts of zero."""
    return {name: value for name, value in asdict(use).items() if value and name != "model"}


def openai_usage(use: Use) -> Json:
    return {
        "prompt_tokens": use.input_tokens,
        "completion_tokens": use.output_tokens,
        "total_tokens": use.input_tokens + use.output_tokens,
        "prompt_tokens_details": {"cached_tokens": use.cache_read_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": use.reasoning_tokens, "audio_tokens": 0},
    }


def without_writes(use: Use) -> Use:
    return replace(use, cache_write_tokens=0)


def chat(asked: Json, n: int, use: Use) -> Answer:
    use = without_writes(use)
    content = '{"word": "yes"}' if asked.get("response_format") else "yes"
    head = {"id": f"chatcmpl-of-number-{n:06}", "created": 1_790_000_000, "model": use.model, "service_tier": "default"}
    if not asked.get("stream"):
        message = {"role": "assistant", "content": content, "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        body = {**head, "object": "chat.completion", "choices": [choice], "usage": openai_usage(use)}
        return Answer(use, body)
    return _chat_stream(asked, {**head, "object": "chat.completion.chunk"}, use, content)


def _chat_stream(asked: Json, head: Json, use: Use, content: str) -> Answer:
    deltas = [({"role": "assistant", "content": ""}, None), ({"content": content}, None), ({}, "stop")]
    chunks: list[Json] = [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}]}
        for delta, reason in deltas
    ]
    if asked["model"].startswith("running-sums"):
        for at, chunk in enumerate(chunks):
            chunk["usage"] = {**openai_usage(use), "completion_tokens": use.output_tokens - len(chunks) + 1 + at}
        return Answer(use, events=chunks, ends_with_done=True)
    if not (asked.get("stream_options") or {}).get("include_usage"):
        return Answer(None, events=chunks, ends_with_done=True)
    for chunk in chunks:
        chunk["usage"] = None
    chunks.append({**head, "choices": [], "usage": openai_usage(use)})
    return Answer(use, events=chunks, ends_with_done=True)


def text(n: int, use: Use) -> Answer:
    use = Use(use.model, use.input_tokens, use.output_tokens, 0, 0, 0)
    usage = {"prompt_tokens": use.input_tokens, "completion_tokens": use.output_tokens, "total_tokens": 1}
    choice = {"index": 0, "text": "yes", "finish_reason": "stop", "logprobs": None}
    head = {"id": f"cmpl-of-number-{n:010}", "object": "text_completion", "created": 1, "model": use.model}
    return Answer(use, {**head, "choices": [choice], "usage": usage})


def embeddings(use: Use) -> Answer:
    use = Use(use.model, use.input_tokens, 0, 0, 0, 0)
    usage = {"prompt_tokens": use.input_tokens, "total_tokens": use.input_tokens}
    data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]
    return Answer(use, {"object": "list", "model": use.model, "data": data, "usage": usage})


def responses(asked: Json, n: int, use: Use) -> Answer:
    use = without_writes(use)
    text = '{"word": "yes"}' if (asked.get("text") or {}).get("format") else "yes"
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    item = {"type": "message", "id": f"msg-{n}", "role": "assistant", "status": "completed", "content": [part]}
    usage = {
        "input_tokens": use.input_tokens,
        "input_tokens_details": {"cached_tokens": use.cache_read_tokens, "cache_write_tokens": 0},
        "output_tokens": use.output_tokens,
        "output_tokens_details": {"reasoning_tokens": use.reasoning_tokens},
        "total_tokens": use.input_tokens + use.output_tokens,
    }
    body: Json = {
        "id": f"resp-of-number-{n:010}",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": use.model,
        "output": [item],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage,
    }
    if not asked.get("stream"):
        return Answer(use, body)
    return Answer(use, events=_response_events(body, item, part), named_events=True)


def _response_events(body: Json, item: Json, part: Json) -> list[Json]:
    begun = {**body, "status": "in_progress", "usage": None, "output": []}
    at = {"output_index": 0, "content_index": 0, "item_id": item["id"], "logprobs": []}
    events: list[Json] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {"type": "response.content_part.added", **at, "part": {**part, "text": ""}},
        {"type": "response.output_text.delta", **at, "delta": part["text"]},
        {"type": "response.output_text.done", **at, "text": part["text"]},
        {"type": "response.content_part.done", **at, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": body},
    ]
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def messages(asked: Json, n: int, use: Use) -> Answer:
    use = replace(use, reasoning_tokens=0)
    text = '{"word": "yes"}' if asked.get("output_config") or asked.get("output_format") else "yes"
    usage = {
        "input_tokens": use.input_tokens - use.cache_read_tokens - use.cache_write_tokens,
        "cache_read_input_tokens": use.cache_read_tokens,
        "cache_creation_input_tokens": use.cache_write_tokens,
        "output_tokens": use.output_tokens,
    }
    head = {"id": f"msg_of_number_{n:010}", "type": "message", "role": "assistant", "model": use.model}
    body: Json = {**head, "content": [{"type": "text", "text": text}], "usage": usage}
    body |= {"stop_reason": "end_turn", "stop_sequence": None}
    if not asked.get("stream"):
        return Answer(use, body)
    known = replace(use, output_tokens=1) if asked["model"].startswith("left") else use
    return Answer(known, events=_message_events(body, use), named_events=True)


def _message_events(body: Json, use: Use) -> list[Json]:
    usage, text = body["usage"], body["content"][0]["text"]
    start = {**body, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    end: Json = {"stop_reason": "end_turn", "stop_sequence": None}
    deltas: list[Json] = [{"type": "message_delta", "delta": end, "usage": usage}]
    if "sums" in use.model:
        usages: list[Json] = [{"output_tokens": use.output_tokens - 1}, {**usage, "cache_read_input_tokens": None}]
        deltas = [{"type": "message_delta", "delta": end, "usage": each} for each in usages]
    return [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
        {"type": "content_block_stop", "index": 0},
        *deltas,
        {"type": "message_stop"},
    ]


def google(path: str, asked: Json, n: int, use: Use) -> Answer:
    use = without_writes(use)
    usage = {
        "promptTokenCount": use.input_tokens - 10,
        "toolUsePromptTokenCount": 10,
        "candidatesTokenCount": use.output_tokens - use.reasoning_tokens,
        "thoughtsTokenCount": use.reasoning_tokens,
        "cachedContentTokenCount": use.cache_read_tokens,
        "totalTokenCount": use.input_tokens + use.output_tokens,
    }
    head = {"modelVersion": use.model, "responseId": f"google-of-number-{n}"}
    part = {"content": {"role": "model", "parts": [{"text": "yes"}]}, "index": 0}
    last = {**head, "candidates": [{**part, "finishReason": "STOP"}], "usageMetadata": usage}
    if use.model.startswith("continued") and "continuationToken" not in str(asked):
        last["candidates"] = [{**part, "finishReason": "CONTINUATION", "continuationToken": "Z28gb24="}]
    if "stream" not in path:
        return Answer(use, last)
    begun = {"promptTokenCount": use.input_tokens - 10, "totalTokenCount": use.input_tokens - 10}
    if use.model.startswith("left"):
        use = Use(use.model, use.input_tokens - 10, 0, 0, 0, 0)
    return Answer(use, events=[{**head, "candidates": [part], "usageMetadata": begun}, last])


def _lines(answer: Answer) -> Iterator[bytes]:
    for event in answer.events:
        if answer.named_events:
            yield f"event: {event['type']}\n".encode()
        yield f"data: {json.dumps(event)}\n\n".encode()
    if answer.ends_with_done:
        yield b"data: [DONE]\n\n"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Some cases make many calls in parallel.
    request_queue_size = 128


def _handler_of(server: ModelServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            asked = json.loads(self.rfile.read(length) or b"{}")
            answer = server.answer(self.command, self.path.partition("?")[0], asked)
            self.send_response(200)
            kind = "application/json" if answer.body else "text/event-stream"
            self.send_header("Content-Type", kind)
            self.send_header("x-request-id", "req-1")
            self.end_headers()
            self.wfile.write(json.dumps(answer.body).encode() if answer.body else b"".join(_lines(answer)))

        do_GET = do_POST  # noqa: N815 - the names are http.server's

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is http.server's
            """Print nothing."""

    return Handler
