"""An agent and a team of AutoGen AgentChat, streamed and not, with a working and a failing tool."""

from __future__ import annotations

import asyncio
import logging

import twice
from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.conditions import TextMentionTermination
from autogen_agentchat.teams import RoundRobinGroupChat
from autogen_core import EVENT_LOGGER_NAME
from autogen_ext.models.openai import OpenAIChatCompletionClient
from clevagent.integrations.agentchat import monitored_run, monitored_stream

INFO = {"vision": False, "function_calling": True, "json_output": False, "structured_output": False, "family": "any"}


async def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


async def broken(city: str) -> str:
    """A tool that fails."""
    raise ValueError(f"no such city: {city}")


def agent(stream: bool = False, **options: object) -> AssistantAgent:
    if stream:
        options["stream_options"] = {"include_usage": True}
    model = OpenAIChatCompletionClient(model="mini", model_info=INFO, **options)
    return AssistantAgent(
        "reporter", model, tools=[weather, broken], reflect_on_tool_use=True, model_client_stream=stream
    )


async def ask(question: str, **options: object) -> None:
    result = await monitored_run(agent(**options), task=question)
    assert result.messages


async def stream() -> None:
    team = RoundRobinGroupChat([agent(stream=True)], termination_condition=TextMentionTermination("yes"))
    messages = [message async for message in monitored_stream(team, task="weather in Paris?")]
    assert messages


def work() -> None:
    asyncio.run(ask("weather in Paris?"))


def streamed() -> None:
    asyncio.run(stream())


def fail() -> None:
    asyncio.run(ask("call broken"))


def unreachable() -> None:
    asyncio.run(ask("hello", base_url=twice.NOWHERE, max_retries=0))


class Root(logging.Handler):
    """The program's own handler, which records everything it receives."""

    def emit(self, record: logging.LogRecord) -> None:
        reached.append(record.name)


reached: list[str] = []
logging.getLogger().addHandler(Root())
twice.run(work, streamed, fail, unreachable)
assert EVENT_LOGGER_NAME not in reached, "the event logger says more than before"
