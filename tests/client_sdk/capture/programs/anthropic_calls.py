from __future__ import annotations

import inspect
from typing import Any

import anthropic
import table
from table import MODELS, case, kind

table.start()

client = anthropic.Anthropic(base_url=MODELS, api_key="key", max_retries=0)
aio = anthropic.AsyncAnthropic(base_url=MODELS, api_key="key", max_retries=0)
ASK: Any = {"messages": [{"role": "user", "content": "?"}], "max_tokens": 99}


@case
def message(model: str) -> str:
    return kind(client.messages.create(model=model, **ASK))


@case
async def message_async(model: str) -> str:
    return kind(await aio.messages.create(model=model, **ASK))


@case
def message_stream(model: str) -> list[Any]:
    stream = client.messages.create(model=model, stream=True, **ASK)
    return [kind(stream), [event.type for event in stream][-1]]


@case
async def message_stream_async(model: str) -> list[Any]:
    stream = await aio.messages.create(model=model, stream=True, **ASK)
    return [kind(stream), [event.type async for event in stream][-1]]


@case
def left_stream_closed(model: str) -> str:
    with client.messages.create(model=model, stream=True, **ASK) as stream:
        return str(next(iter(stream)).type)


@case
def left_stream_dropped(model: str) -> str:
    return str(next(iter(client.messages.create(model=model, stream=True, **ASK))).type)


@case
async def left_stream_async(model: str) -> str:
    async with await aio.messages.create(model=model, stream=True, **ASK) as stream:
        async for event in stream:
            return str(event.type)
    return ""


@case
def stream_helper(model: str) -> list[Any]:
    with client.messages.stream(model=model, **ASK) as stream:
        text = "".join(stream.text_stream)
        return [kind(stream), text, kind(stream.get_final_message())]


@case
async def stream_helper_async(model: str) -> list[Any]:
    async with aio.messages.stream(model=model, **ASK) as stream:
        return [kind(stream), kind(await stream.get_final_message())]


@case
def message_parse(model: str) -> str:
    from pydantic import BaseModel

    class Word(BaseModel):
        word: str

    return str(client.messages.parse(model=model, output_format=Word, **ASK).parsed_output.word)


@case
def raw(model: str) -> str:
    answer = client.messages.with_raw_response.create(model=model, **ASK)
    assert answer.parse() == answer.parse()
    return kind(answer.parse())


@case
async def raw_async(model: str) -> str:
    parsed = (await aio.messages.with_raw_response.create(model=model, **ASK)).parse()
    return kind(await parsed if inspect.isawaitable(parsed) else parsed)


@case
def raw_stream(model: str) -> list[Any]:
    stream = client.messages.with_raw_response.create(model=model, stream=True, **ASK).parse()
    return [kind(stream), len(list(stream))]


@case
def unknown_raw_never_parsed(model: str) -> str:
    return str(client.messages.with_raw_response.create(model=model, **ASK).headers["x-request-id"])


@case
def streamed_response(model: str) -> str:
    with client.messages.with_streaming_response.create(model=model, **ASK) as answer:
        return kind(answer.parse())


@case
async def streamed_response_async(model: str) -> str:
    async with aio.messages.with_streaming_response.create(model=model, **ASK) as answer:
        return kind(await answer.parse())


@case
def beta(model: str) -> str:
    return kind(client.beta.messages.create(model=model, **ASK))


@case
def beta_stream(model: str) -> list[Any]:
    stream = client.beta.messages.create(model=model, stream=True, **ASK)
    return [kind(stream), [event.type for event in stream][-1]]


@case
async def beta_stream_helper_async(model: str) -> str:
    async with aio.beta.messages.stream(model=model, **ASK) as stream:
        return kind(await stream.get_final_message())


@case
def tool_runner(model: str) -> str:
    return kind(client.beta.messages.tool_runner(model=model, tools=[], **ASK).until_done())


@case
def vertex(model: str) -> str:
    return kind(_vertex().messages.create(model=model, **ASK))


@case
def vertex_stream(model: str) -> str:
    return [event.type for event in _vertex().messages.create(model=model, stream=True, **ASK)][-1]


def _vertex() -> Any:
    return anthropic.AnthropicVertex(region="here", project_id="p", access_token="t", base_url=MODELS, max_retries=0)


table.main()
