"""A CrewAI crew: one agent with a working tool, one with a failing tool."""

from __future__ import annotations

import twice
from clevagent.integrations.crewai import clevagent_step_callback
from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool


@tool("weather")
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


@tool("broken")
def broken(city: str) -> str:
    """A tool that fails."""
    raise ValueError(f"no such city: {city}")


def kickoff(used: object, **options: object) -> None:
    llm = LLM(model="openai/gpt-4o-mini", **options)
    agent = Agent(role="Reporter", goal="Report", backstory="Has a window", llm=llm, tools=[used])
    task = Task(description=f"call {used.name}", expected_output="One line", agent=agent)
    Crew(agents=[agent], tasks=[task], step_callback=clevagent_step_callback).kickoff()


def work() -> None:
    kickoff(weather)


def streamed() -> None:
    kickoff(weather, stream=True)


def fail() -> None:
    kickoff(broken)


def unreachable() -> None:
    kickoff(weather, base_url=twice.NOWHERE, max_retries=0)


twice.run(work, streamed, fail, unreachable)
