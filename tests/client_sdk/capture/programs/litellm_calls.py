from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import table
from table import MODELS

table.start()

import litellm  # noqa: E402 - what is imported later is watched too
from litellm.integrations.custom_logger import CustomLogger  # noqa: E402

ASK: Any = {"messages": [{"role": "user", "content": "?"}], "api_key": "key", "max_retries": 0}
OPENAI: Any = {**ASK, "api_base": f"{MODELS}/v1"}
STREAM: Any = {"stream": True, "stream_options": {"include_usage": True}}


def anthropic(model: str) -> Any:
    return {**ASK, "model": f"anthropic/{model}", "api_base": f"{MODELS}/v1/messages"}


class Heard(CustomLogger):
    """The program's own callback, which runs after clevagent's, in a thread or in the event loop."""

    calls = 0

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self.calls += 1

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self.calls += 1


heard = Heard()
litellm.callbacks.append(heard)


def case(call: Callable[[str], Any]) -> Callable[[str], Any]:
    """A call, finished once its callbacks have run."""

    async def wait(before: int) -> None:
        end = time.monotonic() + 5
        while heard.calls == before:
            assert time.monotonic() < end, "no callback came"
            await asyncio.sleep(0.005)

    async def run(model: str) -> None:
        before = heard.calls
        found = call(model)
        if found is not None:
            await found
        await wait(before)

    run.__name__ = call.__name__
    return table.case(run)


@case
def through_openai(model: str) -> None:
    assert litellm.completion(model=f"openai/{model}", **OPENAI).usage.prompt_tokens > 0


@case
async def through_openai_async(model: str) -> None:
    assert (await litellm.acompletion(model=f"openai/{model}", **OPENAI)).usage.prompt_tokens > 0


@case
def through_openai_stream(model: str) -> None:
    assert list(litellm.completion(model=f"openai/{model}", **STREAM, **OPENAI))


@case
async def through_openai_stream_async(model: str) -> None:
    assert [piece async for piece in await litellm.acompletion(model=f"openai/{model}", **STREAM, **OPENAI)]


@case
def to_anthropic(model: str) -> None:
    assert litellm.completion(**anthropic(model)).choices[0].message.content == "yes"


@case
async def to_anthropic_async(model: str) -> None:
    assert (await litellm.acompletion(**anthropic(model))).choices[0].message.content == "yes"


@case
def to_anthropic_stream(model: str) -> None:
    assert list(litellm.completion(stream=True, **anthropic(model)))


@case
async def to_anthropic_stream_async(model: str) -> None:
    assert [piece async for piece in await litellm.acompletion(stream=True, **anthropic(model))]


@case
def embedding(model: str) -> None:
    litellm.embedding(model=f"openai/{model}", input=["?"], api_base=f"{MODELS}/v1", api_key="key")


@table.case
def embedding_of_openai_itself(model: str) -> None:
    import openai

    client = openai.OpenAI(base_url=f"{MODELS}/v1", api_key="key")
    client.embeddings.create(model=model, input="?", encoding_format="float")


@case
def after_a_program_set_callbacks_of_its_own(model: str) -> None:
    litellm.success_callback = []
    assert litellm.completion(**anthropic(model))


table.main()
