"""A Pydantic AI agent: over both OpenAI APIs, streamed and not, with a working and a failing tool."""

from __future__ import annotations

import asyncio

import twice
from clevagent.integrations.pydantic_ai import ClevAgentCapability
from pydantic_ai import Agent, ApprovalRequired, DeferredToolRequests


def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


def broken(city: str) -> str:
    """A tool that fails."""
    raise ValueError(f"no such city: {city}")


def guarded(city: str) -> str:
    """A tool that requires approval."""
    raise ApprovalRequired


def agent(api: str) -> Agent:
    return Agent(f"{api}:gpt-4o-mini", tools=[weather, broken], capabilities=[ClevAgentCapability()])


async def ask(api: str, question: str) -> None:
    await agent(api).run(question)


async def stream(api: str) -> None:
    async with agent(api).run_stream("weather in Paris?") as result:
        async for _ in result.stream_text():
            pass


def over_responses() -> None:
    asyncio.run(ask("openai-responses", "weather in Paris?"))
    asyncio.run(stream("openai-responses"))


def over_chat() -> None:
    asyncio.run(ask("openai-chat", "weather in Paris?"))
    asyncio.run(stream("openai-chat"))


def fail() -> None:
    asyncio.run(ask("openai-chat", "call broken"))


def postpone() -> None:
    """The run ends because the tool waits for approval."""
    asking = Agent(
        "openai-chat:gpt-4o-mini",
        tools=[guarded],
        output_type=[str, DeferredToolRequests],
        capabilities=[ClevAgentCapability()],
    )
    assert asyncio.run(asking.run("weather in Paris?")).output.approvals


twice.run(over_responses, over_chat, fail, postpone)
