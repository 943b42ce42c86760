"""A LangChain agent: it asks, calls a tool, streams and fails."""

from __future__ import annotations

import asyncio
import contextlib

import twice
from clevagent.integrations.langchain import ClevAgentCallbackHandler
from langchain.agents import create_agent
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


@tool
def broken(city: str) -> str:
    """A tool that fails."""
    raise ValueError(f"no such city: {city}")


def model(name: str = "gpt-4o-mini", **options: object) -> ChatOpenAI:
    return ChatOpenAI(model=name, **options)


def with_handler() -> dict[str, object]:
    return {"callbacks": [ClevAgentCallbackHandler()]}


def ask() -> None:
    create_agent(model(), [weather]).invoke({"messages": "weather in Paris?"}, config=with_handler())


def ask_responses() -> None:
    create_agent(model(use_responses_api=True), [weather]).invoke({"messages": "weather?"}, config=with_handler())


def ask_async() -> None:
    asyncio.run(create_agent(model(), [weather]).ainvoke({"messages": "weather?"}, config=with_handler()))


def stream() -> None:
    for _ in model(stream_usage=True, callbacks=[ClevAgentCallbackHandler()]).stream("hello"):
        pass


def leave() -> None:
    stream = model("unknown-left-early", stream_usage=True, callbacks=[ClevAgentCallbackHandler()]).stream("left early")
    next(stream)
    stream.close()


def fail() -> None:
    create_agent(model(), [broken]).invoke({"messages": "call broken"}, config=with_handler())


def unreachable() -> None:
    model(base_url=twice.NOWHERE, max_retries=0, callbacks=[ClevAgentCallbackHandler()]).invoke("hello")


def unavailable(**more: object) -> ChatOpenAI:
    return model(base_url=twice.NOWHERE, max_retries=0, **more)


def fall_back() -> None:
    unavailable().with_fallbacks([model()]).invoke("hello", with_handler())


def fall_back_with_own_handlers() -> None:
    """Each model has its own handler, which sees no chain around it."""
    handlers = [ClevAgentCallbackHandler()]
    unavailable(callbacks=handlers).with_fallbacks([model(callbacks=handlers)]).invoke("hello")


def retry() -> None:
    outcomes = iter([ValueError("not yet"), None])

    def answer(question: str) -> str:
        problem = next(outcomes)
        if problem:
            raise problem
        return question

    RunnableLambda(answer).with_retry(wait_exponential_jitter=False).invoke("hello", with_handler())


def retry_by_hand() -> None:
    for each in (unavailable(), model()):
        with contextlib.suppress(Exception):
            each.invoke("hello", with_handler())


recoveries = (fall_back, fall_back_with_own_handlers, retry, retry_by_hand)
twice.run(ask, ask_responses, ask_async, stream, leave, fail, unreachable, *recoveries)
