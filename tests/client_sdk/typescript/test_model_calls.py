"""Tokens of the official SDKs are counted, whole answers and streams alike, and the SDKs notice nothing."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from clevagent.progress import hash_of
from clevagent.testing import FakeServer

from tests.client_sdk.typescript import npm
from tests.client_sdk.typescript.conftest import CLIENT, Script
from tests.flows.installation import PATIENCE

pytestmark = pytest.mark.live

PROGRAMS = Path(__file__).parent / "programs"
CHAT_ID, RESPONSE_ID, MESSAGE_ID = "chatcmpl-0123456789abcdef", "resp_0123456789abcdef", "msg_0123456789abcdef"
CHAT_USAGE = {
    "prompt_tokens": 30,
    "completion_tokens": 5,
    "prompt_tokens_details": {"cached_tokens": 10},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
RESPONSE_USAGE = {
    "input_tokens": 40,
    "output_tokens": 6,
    "input_tokens_details": {"cached_tokens": 7},
    "output_tokens_details": {"reasoning_tokens": 1},
}
MESSAGE_USAGE = {"input_tokens": 20, "cache_read_input_tokens": 7, "cache_creation_input_tokens": 3, "output_tokens": 1}
CHAT = {"model": "gpt-5-2026", "input_tokens": 30, "output_tokens": 5, "cache_read_tokens": 10, "reasoning_tokens": 2}
RESPONSE = {
    "model": "gpt-5-2026",
    "input_tokens": 40,
    "output_tokens": 6,
    "cache_read_tokens": 7,
    "reasoning_tokens": 1,
}
MESSAGE = {"model": "claude-9", "input_tokens": 30, "cache_read_tokens": 7, "cache_write_tokens": 3}


def chat_chunks() -> list[Any]:
    chunk: dict[str, Any] = {
        "id": CHAT_ID,
        "object": "chat.completion.chunk",
        "model": "gpt-5-2026",
        "created": 1,
        "usage": None,
    }
    texts: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]} for text in ("It ", "rains.")
    ]
    end: dict[str, Any] = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    return [*({**chunk, **each} for each in (*texts, end)), {**chunk, "choices": [], "usage": CHAT_USAGE}, "[DONE]"]


def response_events() -> list[Any]:
    response: dict[str, Any] = {
        "id": RESPONSE_ID,
        "object": "response",
        "model": "gpt-5-2026",
        "output": [],
        "usage": None,
    }
    return [
        {"type": "response.created", "response": response},
        {"type": "response.output_text.delta", "delta": "It rains."},
        {"type": "response.completed", "response": {**response, "usage": RESPONSE_USAGE}},
    ]


def message_events() -> list[Any]:
    message: dict[str, Any] = {
        "id": MESSAGE_ID,
        "type": "message",
        "role": "assistant",
        "model": "claude-9",
        "content": [],
    }
    return [
        {"type": "message_start", "message": {**message, "usage": MESSAGE_USAGE}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "It rains."}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]


def answer_to(path: str, asked: dict[str, Any]) -> Any:
    """A whole answer, or a list of stream events."""
    if path.endswith("/chat/completions"):
        choice = {"index": 0, "message": {"role": "assistant", "content": "It rains."}, "finish_reason": "stop"}
        whole: dict[str, Any] = {"id": CHAT_ID, "object": "chat.completion", "model": "gpt-5-2026", "usage": CHAT_USAGE}
        return chat_chunks() if asked.get("stream") else {**whole, "choices": [choice]}
    if path.endswith("/responses"):
        return response_events()
    if path.endswith("/embeddings"):
        data = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
        return {"object": "list", "data": data, "model": "small", "usage": {"prompt_tokens": 4, "total_tokens": 4}}
    message: dict[str, Any] = {"id": MESSAGE_ID, "type": "message", "role": "assistant", "model": "claude-9"}
    text = [{"type": "text", "text": "It rains."}]
    whole = {**message, "content": text, "stop_reason": "end_turn", "usage": {**MESSAGE_USAGE, "output_tokens": 9}}
    return message_events() if asked.get("stream") else whole


class ModelServer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = answer_to(self.path.partition("?")[0], asked)
        is_stream = isinstance(answer, list)
        text = "".join(map(_event, answer)) if is_stream else json.dumps(answer)
        self.send_response(400 if asked["model"] == "none" else 200)
        self.send_header("Content-Type", "text/event-stream" if is_stream else "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if asked["model"] == "endless":  # what follows never comes; the program leaves
            self.wfile.write(text.partition("event: content_block_stop")[0].encode())
            self.rfile.read(1)
        self.wfile.write(text.encode())

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server requires the name
        """Print nothing."""


def _event(event: Any) -> str:
    if isinstance(event, str):
        return f"data: {event}\n\n"
    return f"event: {event.get('type', '')}\ndata: {json.dumps(event)}\n\n"


@pytest.fixture
def models() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), ModelServer) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def run(
    script: Script,
    program: str,
    *arguments: str,
    packages: tuple[str, ...] = npm.MODEL_SDKS,
    runtime: str = "node",
    **env: str,
) -> str:
    """Run one of `programs/` beside the npm packages, from where Node finds them."""
    modules = npm.modules(*packages)
    file = Path(shutil.copy(PROGRAMS / program, modules.parent))
    variables = {**script.environment, "CLIENT": (CLIENT / "clevagent.js").as_uri(), **env}
    command = [*npm.runtime(runtime), str(file), *arguments]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize(
    ("call", "printed", "used"),
    [
        ("chat", "It rains.\n", [CHAT]),
        ("chatStream", "It rains.", [CHAT]),
        ("responses", "It rains.", [RESPONSE]),
        ("embeddings", "", [{"model": "small", "input_tokens": 4}]),
        ("message", "It rains.\n", [{**MESSAGE, "output_tokens": 9}]),
        ("messageStream", "It rains.\n", [{**MESSAGE, "output_tokens": 9}]),
        ("leftStream", "", [{**MESSAGE, "output_tokens": 1}]),
        ("unwatched", "", []),
        ("watched", "", [CHAT]),
        ("raw", f"{CHAT_ID} 200 true true\n", [CHAT]),
        ("failing", "400\n", []),
    ],
)
def test_tokens_are_counted(
    script: Script, server: FakeServer, models: str, call: str, printed: str, used: list[dict[str, Any]]
) -> None:
    assert run(script, "models.mjs", call, MODELS=models) == printed
    assert server.usage() == used


AI_SDKS = pytest.mark.parametrize(
    ("packages", "runtime"),
    # Version 7 needs Node 22.
    [(npm.MODEL_SDKS, "node"), (npm.AI_SDK_7, "newest-node")],
    ids=["6", "7"],
)
AI_USE = {"input_tokens": 30, "output_tokens": 5, "cache_read_tokens": 10, "reasoning_tokens": 2}


@AI_SDKS
def test_ai_sdk_reports_steps_tools_and_tokens(
    script: Script, server: FakeServer, packages: tuple[str, ...], runtime: str
) -> None:
    assert run(script, "ai_sdk.mjs", packages=packages, runtime=runtime) == "It rains.\n"
    assert server.usage() == [{**AI_USE, "model": "gpt-5-2026", "provider": "openai"}] * 2
    [call] = server.calls()
    assert (call["name"], call["args"], call["ok"]) == ("weather", "city=Ulm", True)
    assert call["result_hash"] == hash_of({"city": "Ulm", "rain": True})
    assert server.beats[-1]["iteration_count"] == 2


@AI_SDKS
def test_ai_sdk_calls_at_once_and_failures(
    script: Script, server: FakeServer, packages: tuple[str, ...], runtime: str
) -> None:
    assert run(script, "ai_sdk.mjs", "more", packages=packages, runtime=runtime) == "overloaded\n"
    assert server.usage() == [{**AI_USE, "model": "gpt-5-2026", "provider": "openai"}] * 2
    assert server.beats[-1]["iteration_count"] == 3
