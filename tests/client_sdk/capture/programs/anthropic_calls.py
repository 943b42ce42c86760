from __future__ import annotations

import asyncio
import inspect
from typing import Any

import anthropic
import table
from anthropic.types import Message
from table import MODELS, case

table.start()

client = anthropic.Anthropic(base_url=MODELS, api_key="key", max_retries=0)
aio = anthropic.AsyncAnthropic(base_url=MODELS, api_key="key", max_retries=0)
ASK: Any = {"messages": [{"role": "user", "content": "?"}], "max_tokens": 99}


@case
def message(model: str) -> None:
    assert type(client.messages.create(model=model, **ASK)) is Message


@case
async def message_async(model: str) -> None:
    assert type(await aio.messages.create(model=model, **ASK)) is Message


@case
def message_stream(model: str) -> None:
    stream = client.messages.create(model=model, stream=True, **ASK)
    assert type(stream) is anthropic.Stream
    assert [event.type for event in stream][-1] == "message_stop"


@case
def stream_with_running_sums(model: str) -> None:
    stream = client.messages.create(model=model, stream=True, **ASK)
    assert [event.type for event in stream][-3:] == ["message_delta", "message_delta", "message_stop"]


@case
async def message_stream_async(model: str) -> None:
    stream = await aio.messages.create(model=model, stream=True, **ASK)
    assert type(stream) is anthropic.AsyncStream
    assert [event.type async for event in stream][-1] == "message_stop"


@case
def two_streams_at_once(model: str) -> None:
    streams = [client.messages.create(model=model, stream=True, **ASK) for _ in range(2)]
    assert all(first.type == second.type for first, second in zip(*streams, strict=True))


@case
async def many_streams_at_once_async(model: str) -> None:
    async def read() -> str:
        stream = await aio.messages.create(model=model, stream=True, **ASK)
        return [event.type async for event in stream][-1]

    assert await asyncio.gather(*(read() for _ in range(20))) == ["message_stop"] * 20


@case
def left_stream_closed(model: str) -> None:
    stream = client.messages.create(model=model, stream=True, **ASK)
    assert next(iter(stream)).type == "message_start"
    stream.response.close()


@case
def left_stream_dropped(model: str) -> None:
    assert next(iter(client.messages.create(model=model, stream=True, **ASK))).type == "message_start"


@case
async def left_stream_async(model: str) -> None:
    stream = await aio.messages.create(model=model, stream=True, **ASK)
    async for event in stream:
        assert event.type == "message_start"
        break
    await stream.response.aclose()


@case
def stream_helper(model: str) -> None:
    with client.messages.stream(model=model, **ASK) as stream:
        assert "".join(stream.text_stream) == "yes"
        assert stream.get_final_message().content[0].text == "yes"


@case
async def stream_helper_async(model: str) -> None:
    async with aio.messages.stream(model=model, **ASK) as stream:
        assert (await stream.get_final_message()).content[0].text == "yes"


@case
def message_parse(model: str) -> None:
    from pydantic import BaseModel

    class Word(BaseModel):
        word: str

    assert client.messages.parse(model=model, output_format=Word, **ASK).parsed_output.word == "yes"


@case
def raw_parsed_twice(model: str) -> None:
    answer = client.messages.with_raw_response.create(model=model, **ASK)
    assert answer.parse() == answer.parse()
    assert type(answer.parse()) is Message


@case
async def raw_async(model: str) -> None:
    parsed = (await aio.messages.with_raw_response.create(model=model, **ASK)).parse()
    assert type(await parsed if inspect.isawaitable(parsed) else parsed) is Message


@case
def raw_stream(model: str) -> None:
    stream = client.messages.with_raw_response.create(model=model, stream=True, **ASK).parse()
    assert type(stream) is anthropic.Stream
    assert [event.type for event in stream][-1] == "message_stop"


@case
def unknown_raw_never_parsed(model: str) -> None:
    assert client.messages.with_raw_response.create(model=model, **ASK).headers["x-request-id"]


@case
def streamed_response(model: str) -> None:
    with client.messages.with_streaming_response.create(model=model, **ASK) as answer:
        assert type(answer.parse()) is Message


@case
async def streamed_response_async(model: str) -> None:
    async with aio.messages.with_streaming_response.create(model=model, **ASK) as answer:
        assert type(await answer.parse()) is Message


@case
def beta(model: str) -> None:
    assert client.beta.messages.create(model=model, **ASK).content[0].text == "yes"


@case
def beta_stream(model: str) -> None:
    stream = client.beta.messages.create(model=model, stream=True, **ASK)
    assert type(stream) is anthropic.Stream
    assert [event.type for event in stream][-1] == "message_stop"


@case
async def beta_stream_helper_async(model: str) -> None:
    async with aio.beta.messages.stream(model=model, **ASK) as stream:
        assert (await stream.get_final_message()).content[0].text == "yes"


@case
def tool_runner(model: str) -> None:
    assert client.beta.messages.tool_runner(model=model, tools=[], **ASK).until_done().content[0].text == "yes"


@case
def vertex(model: str) -> None:
    assert _vertex().messages.create(model=model, **ASK).content[0].text == "yes"


@case
def vertex_stream(model: str) -> None:
    stream = _vertex().messages.create(model=model, stream=True, **ASK)
    assert [event.type for event in stream][-1] == "message_stop"


def _vertex() -> Any:
    options: Any = {"region": "here", "project_id": "p", "access_token": "token"}
    return anthropic.AnthropicVertex(**options, base_url=MODELS, max_retries=0)


table.main()
