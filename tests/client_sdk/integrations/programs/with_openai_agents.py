"""An OpenAI Agents SDK agent: over both OpenAI APIs, streamed and not, with a failing tool."""

from __future__ import annotations

import asyncio

import twice
from clevagent.integrations.openai_agents import ClevAgentHooks
from openai import AsyncOpenAI

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)

set_tracing_disabled(True)


@function_tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


@function_tool
def broken(city: str) -> str:
    """A tool that fails."""
    raise ValueError(f"no such city: {city}")


def agent(chat: bool = False) -> Agent:
    model = OpenAIChatCompletionsModel("gpt-4o-mini", AsyncOpenAI()) if chat else "gpt-4o-mini"
    settings = ModelSettings(include_usage=True)
    return Agent(name="Reporter", model=model, tools=[weather, broken], model_settings=settings)


async def ask(question: str, chat: bool = False) -> None:
    await Runner.run(agent(chat), question, hooks=ClevAgentHooks())


async def stream(chat: bool = False) -> None:
    result = Runner.run_streamed(agent(chat), "weather in Paris?", hooks=ClevAgentHooks())
    async for _ in result.stream_events():
        pass


def over_responses() -> None:
    asyncio.run(ask("weather in Paris?"))
    asyncio.run(stream())


def over_chat() -> None:
    asyncio.run(ask("weather in Paris?", chat=True))
    asyncio.run(stream(chat=True))


def fail() -> None:
    asyncio.run(ask("call broken"))


twice.run(over_responses, over_chat, fail)
