from __future__ import annotations

from typing import Any

import table
from table import MODELS, case

table.start()

import openai  # noqa: E402 - what is imported later is watched too
from openai.types import Completion, CreateEmbeddingResponse  # noqa: E402
from openai.types.chat import ChatCompletion  # noqa: E402

client = openai.OpenAI(base_url=f"{MODELS}/v1", api_key="key", max_retries=0)
aio = openai.AsyncOpenAI(base_url=f"{MODELS}/v1", api_key="key", max_retries=0)
azure = openai.AzureOpenAI(azure_endpoint=MODELS, api_key="key", api_version="2024-10-21", max_retries=0)
ASK: Any = {"messages": [{"role": "user", "content": "?"}]}
# Passed as a raw body, because the oldest release has no argument for it.
STREAM: Any = {**ASK, "stream": True, "extra_body": {"stream_options": {"include_usage": True}}}
USAGE: Any = {"stream_options": {"include_usage": True}}
VECTOR: Any = {"input": "?", "encoding_format": "float"}


def word() -> Any:
    from pydantic import BaseModel

    class Word(BaseModel):
        word: str

    return Word


@case
def chat(model: str) -> None:
    assert type(client.chat.completions.create(model=model, **ASK)) is ChatCompletion


@case
async def chat_async(model: str) -> None:
    assert type(await aio.chat.completions.create(model=model, **ASK)) is ChatCompletion


@case
def chat_azure(model: str) -> None:
    assert type(azure.chat.completions.create(model=model, **ASK)) is ChatCompletion


@case
def chat_stream(model: str) -> None:
    stream = client.chat.completions.create(model=model, **STREAM)
    assert type(stream) is openai.Stream
    assert [len(chunk.choices) for chunk in stream] == [1, 1, 1, 0]


@case
async def chat_stream_async(model: str) -> None:
    stream = await aio.chat.completions.create(model=model, **STREAM)
    assert type(stream) is openai.AsyncStream
    assert [len(chunk.choices) async for chunk in stream] == [1, 1, 1, 0]


@case
def running_sums_in_a_stream(model: str) -> None:
    stream = client.chat.completions.create(model=model, **{**ASK, "stream": True})
    assert [chunk.choices[0].finish_reason for chunk in stream] == [None, None, "stop"]


@case
def unknown_stream_without_usage(model: str) -> None:
    stream = client.chat.completions.create(model=model, **{**ASK, "stream": True})
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "yes"


@case
def unknown_stream_left_early(model: str) -> None:
    stream = client.chat.completions.create(model=model, **STREAM)
    next(iter(stream))
    stream.response.close()


@case
def chat_stream_helper(model: str) -> None:
    with client.chat.completions.stream(model=model, **USAGE, **ASK) as stream:
        assert stream.get_final_completion().usage.prompt_tokens > 0


@case
async def chat_stream_helper_async(model: str) -> None:
    async with aio.chat.completions.stream(model=model, **USAGE, **ASK) as stream:
        assert (await stream.get_final_completion()).usage.prompt_tokens > 0


@case
def chat_parse(model: str) -> None:
    answer = client.chat.completions.parse(model=model, response_format=word(), **ASK)
    assert answer.choices[0].message.parsed.word == "yes"


@case
async def chat_parse_async(model: str) -> None:
    answer = await aio.chat.completions.parse(model=model, response_format=word(), **ASK)
    assert answer.choices[0].message.parsed.word == "yes"


@case
def chat_raw_parsed_twice(model: str) -> None:
    raw = client.chat.completions.with_raw_response.create(model=model, **ASK)
    assert raw.parse() == raw.parse()
    assert type(raw.parse()) is ChatCompletion


@case
async def chat_raw_async(model: str) -> None:
    raw = await aio.chat.completions.with_raw_response.create(model=model, **ASK)
    assert type(raw.parse()) is ChatCompletion


@case
def unknown_raw_never_parsed(model: str) -> None:
    assert client.chat.completions.with_raw_response.create(model=model, **ASK).headers["x-request-id"]


@case
def chat_raw_stream(model: str) -> None:
    stream = client.chat.completions.with_raw_response.create(model=model, **STREAM).parse()
    assert type(stream) is openai.Stream
    assert len(list(stream)) == 4


@case
def chat_streamed_response(model: str) -> None:
    with client.chat.completions.with_streaming_response.create(model=model, **ASK) as raw:
        assert type(raw.parse()) is ChatCompletion


@case
async def chat_streamed_response_async(model: str) -> None:
    async with aio.chat.completions.with_streaming_response.create(model=model, **ASK) as raw:
        assert type(await raw.parse()) is ChatCompletion


@case
def chat_of_a_copied_client(model: str) -> None:
    assert client.with_options(timeout=9).chat.completions.create(model=model, **ASK).usage


@case
def completion(model: str) -> None:
    assert type(client.completions.create(model=model, prompt="?")) is Completion


@case
def embedding(model: str) -> None:
    assert type(client.embeddings.create(model=model, **VECTOR)) is CreateEmbeddingResponse


@case
async def embedding_async(model: str) -> None:
    assert type(await aio.embeddings.create(model=model, **VECTOR)) is CreateEmbeddingResponse


@case
def embeddings_have_no_id_and_count_each(model: str) -> None:
    for _ in range(3):
        raw = client.embeddings.with_raw_response.create(model=model, **VECTOR)
        assert raw.parse() == raw.parse()


@case
def response(model: str) -> None:
    assert client.responses.create(model=model, input="?").output_text == "yes"


@case
async def response_async(model: str) -> None:
    assert (await aio.responses.create(model=model, input="?")).output_text == "yes"


@case
def response_stream(model: str) -> None:
    stream = client.responses.create(model=model, input="?", stream=True)
    assert type(stream) is openai.Stream
    assert [event.type for event in stream][-1] == "response.completed"


@case
async def response_stream_async(model: str) -> None:
    stream = await aio.responses.create(model=model, input="?", stream=True)
    assert type(stream) is openai.AsyncStream
    assert [event.type async for event in stream][-1] == "response.completed"


@case
def response_stream_helper(model: str) -> None:
    with client.responses.stream(model=model, input="?") as stream:
        assert stream.get_final_response().output_text == "yes"


@case
def response_parse(model: str) -> None:
    assert client.responses.parse(model=model, input="?", text_format=word()).output_parsed.word == "yes"


@case
def response_raw(model: str) -> None:
    assert client.responses.with_raw_response.create(model=model, input="?").parse().output_text == "yes"


@case
def response_in_the_background(model: str) -> None:
    begun = client.responses.create(model=model, input="?", background=True)
    assert begun.usage is None
    assert client.responses.retrieve(begun.id).status == "completed"
    assert client.responses.retrieve(begun.id).usage


@case
def response_looked_up_again(model: str) -> None:
    known = client.responses.create(model=model, input="?")
    assert client.responses.retrieve(known.id).usage


table.main()
