from __future__ import annotations


from typing import Any

import table
from table import MODELS, case, kind

table.start()

import openai  # noqa: E402 - what is imported later is watched too

client = openai.OpenAI(base_url=f"{MODELS}/v1", api_key="key", max_retries=0)
aio = openai.AsyncOpenAI(base_url=f"{MODELS}/v1", api_key="key", max_retries=0)
azure = openai.AzureOpenAI(azure_endpoint=MODELS, api_key="key", api_version="2024-10-21", max_retries=0)
ASK: Any = {"messages": [{"role": "user", "content": "?"}]}
# Given as the body that it becomes: the oldest release has no argument for it.
STREAM: Any = {**ASK, "stream": True, "extra_body": {"stream_options": {"include_usage": True}}}


def word() -> Any:
    from pydantic import BaseModel

    class Word(BaseModel):
        word: str

    return Word


@case
def chat(model: str) -> str:
    return kind(client.chat.completions.create(model=model, **ASK))


@case
async def chat_async(model: str) -> str:
    return kind(await aio.chat.completions.create(model=model, **ASK))


@case
def chat_azure(model: str) -> str:
    return kind(azure.chat.completions.create(model=model, **ASK))


@case
def chat_stream(model: str) -> list[Any]:
    stream = client.chat.completions.create(model=model, **STREAM)
    return [kind(stream), [len(chunk.choices) for chunk in stream]]


@case
async def chat_stream_async(model: str) -> list[Any]:
    stream = await aio.chat.completions.create(model=model, **STREAM)
    return [kind(stream), [len(chunk.choices) async for chunk in stream]]


@case
def running_sums_in_a_stream(model: str) -> list[Any]:
    stream = client.chat.completions.create(model=model, **{**ASK, "stream": True})
    return [kind(stream), [len(chunk.choices) for chunk in stream]]


@case
def unknown_stream_without_usage(model: str) -> str:
    stream = client.chat.completions.create(model=model, **{**ASK, "stream": True})
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream)


@case
def unknown_stream_left_early(model: str) -> str:
    with client.chat.completions.create(model=model, **STREAM) as stream:
        return kind(next(iter(stream)))


@case
def chat_stream_helper(model: str) -> str:
    with client.chat.completions.stream(model=model, stream_options={"include_usage": True}, **ASK) as stream:
        stream.until_done()
        return kind(stream.get_final_completion())


@case
async def chat_stream_helper_async(model: str) -> str:
    async with aio.chat.completions.stream(model=model, stream_options={"include_usage": True}, **ASK) as stream:
        return kind(await stream.get_final_completion())


@case
def chat_parse(model: str) -> str:
    return str(client.chat.completions.parse(model=model, response_format=word(), **ASK).choices[0].message.parsed.word)


@case
async def chat_parse_async(model: str) -> str:
    answer = await aio.chat.completions.parse(model=model, response_format=word(), **ASK)
    return str(answer.choices[0].message.parsed.word)


@case
def chat_raw(model: str) -> str:
    raw = client.chat.completions.with_raw_response.create(model=model, **ASK)
    assert raw.parse() == raw.parse()
    return kind(raw.parse())


@case
async def chat_raw_async(model: str) -> str:
    raw = await aio.chat.completions.with_raw_response.create(model=model, **ASK)
    return kind(raw.parse())


@case
def unknown_raw_never_parsed(model: str) -> str:
    return str(client.chat.completions.with_raw_response.create(model=model, **ASK).headers["x-request-id"])


@case
def chat_raw_stream(model: str) -> list[Any]:
    stream = client.chat.completions.with_raw_response.create(model=model, **STREAM).parse()
    return [kind(stream), len(list(stream))]


@case
def chat_streamed_response(model: str) -> str:
    with client.chat.completions.with_streaming_response.create(model=model, **ASK) as raw:
        return kind(raw.parse())


@case
async def chat_streamed_response_async(model: str) -> str:
    async with aio.chat.completions.with_streaming_response.create(model=model, **ASK) as raw:
        return kind(await raw.parse())


@case
def chat_with_options(model: str) -> str:
    return kind(client.with_options(timeout=9).chat.completions.create(model=model, **ASK))


@case
def completion(model: str) -> str:
    return kind(client.completions.create(model=model, prompt="?"))


@case
def embedding(model: str) -> str:
    return kind(client.embeddings.create(model=model, input="?", encoding_format="float"))


@case
async def embedding_async(model: str) -> str:
    return kind(await aio.embeddings.create(model=model, input="?", encoding_format="float"))


@case
def embeddings_are_counted_each(model: str) -> None:
    for _ in range(3):
        raw = client.embeddings.with_raw_response.create(model=model, input="?", encoding_format="float")
        assert raw.parse() == raw.parse()


@case
def response(model: str) -> str:
    return kind(client.responses.create(model=model, input="?"))


@case
async def response_async(model: str) -> str:
    return kind(await aio.responses.create(model=model, input="?"))


@case
def response_stream(model: str) -> list[Any]:
    stream = client.responses.create(model=model, input="?", stream=True)
    return [kind(stream), [event.type for event in stream][-1]]


@case
async def response_stream_async(model: str) -> list[Any]:
    stream = await aio.responses.create(model=model, input="?", stream=True)
    return [kind(stream), [event.type async for event in stream][-1]]


@case
def response_stream_helper(model: str) -> str:
    with client.responses.stream(model=model, input="?") as stream:
        return kind(stream.get_final_response())


@case
def response_parse(model: str) -> str:
    return str(client.responses.parse(model=model, input="?", text_format=word()).output_parsed.word)


@case
def response_raw(model: str) -> str:
    return kind(client.responses.with_raw_response.create(model=model, input="?").parse())


@case
def response_in_the_background(model: str) -> str:
    begun = client.responses.create(model=model, input="?", background=True)
    assert begun.usage is None
    client.responses.retrieve(begun.id)
    return str(client.responses.retrieve(begun.id).status)


table.main()

