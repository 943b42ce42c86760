"""Runs against a third-party fake provider that also fails. Prints the usage in the SDKs' own objects."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import clevagent
import openai
from google import genai
from llmock.scenarios import Fail, StreamFault
from llmock.testing import LLMockServer

clevagent.init(interval=3600)
QUESTION = "How long is a piece of string?"
ASK: Any = {"messages": [{"role": "user", "content": QUESTION}]}
said: list[tuple[str, int, int]] = []


def openai_calls(client: openai.OpenAI) -> None:
    chat = client.chat.completions.create(model="gpt-4o", **ASK)
    said.append(("gpt-4o", chat.usage.prompt_tokens, chat.usage.completion_tokens))
    stream = client.chat.completions.create(model="gpt-4o", stream=True, stream_options={"include_usage": True}, **ASK)
    usage = [chunk.usage for chunk in stream][-1]
    said.append(("gpt-4o", usage.prompt_tokens, usage.completion_tokens))
    with client.responses.stream(model="gpt-4.1", input=QUESTION) as events:
        usage = events.get_final_response().usage
    said.append(("gpt-4.1", usage.input_tokens, usage.output_tokens))
    vector = client.embeddings.create(model="text-embedding-3-small", input=QUESTION)
    said.append(("text-embedding-3-small", vector.usage.prompt_tokens, 0))


def anthropic_calls(client: anthropic.Anthropic) -> None:
    model = "claude-test"
    message = client.messages.create(model=model, max_tokens=99, **ASK)
    said.append((model, message.usage.input_tokens, message.usage.output_tokens))
    with client.messages.stream(model=model, max_tokens=99, **ASK) as stream:
        usage = stream.get_final_message().usage
    said.append((model, usage.input_tokens, usage.output_tokens))


def google_calls(client: genai.Client) -> None:
    usage = client.models.generate_content(model="gemini-2.5-flash", contents=QUESTION).usage_metadata
    # Unlike Google, it does not name the model.
    said.append(("unknown", usage.prompt_token_count, usage.candidates_token_count))
    usage = list(client.models.generate_content_stream(model="gemini-2.5-flash", contents=QUESTION))[-1].usage_metadata
    said.append(("gemini-2.5-flash", usage.prompt_token_count, usage.candidates_token_count))


def refused_then_answered(server: LLMockServer, client: openai.OpenAI) -> None:
    server.state.scenarios.add(Fail(status=500, times=1))
    chat = client.with_options(max_retries=2).chat.completions.create(model="gpt-4o", **ASK)
    said.append(("gpt-4o", chat.usage.prompt_tokens, chat.usage.completion_tokens))


def cut_off(server: LLMockServer, client: anthropic.Anthropic) -> None:
    """What arrived before the connection broke was billed."""
    server.state.scenarios.add(StreamFault(kind="disconnect", after_chunks=3, times=1))
    model, seen = "claude-test-2", []
    try:
        for event in client.messages.create(model=model, max_tokens=99, stream=True, **ASK):
            seen.append(event)
    except Exception as error:
        usage = seen[0].message.usage
        said.append((model, usage.input_tokens, usage.output_tokens))
        del error
    assert seen[-1].type != "message_stop"


with LLMockServer() as server:
    oai = openai.OpenAI(base_url=server.base_url("openai"), api_key="key", max_retries=0)
    claude = anthropic.Anthropic(base_url=server.base_url("anthropic"), api_key="key", max_retries=0)
    openai_calls(oai)
    anthropic_calls(claude)
    google_calls(
        genai.Client(api_key="key", http_options={"base_url": server.base_url("gemini"), "api_version": "v1beta"})
    )
    refused_then_answered(server, oai)
    cut_off(server, claude)
clevagent.shutdown()
print(json.dumps(said))
