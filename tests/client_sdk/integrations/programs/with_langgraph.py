"""A LangGraph graph: sync and async nodes, one that reports itself, one that waits for a person, one that fails."""

from __future__ import annotations

import asyncio
from typing import TypedDict

import twice
from clevagent.integrations.langchain import ClevAgentCallbackHandler
from clevagent.integrations.langgraph import clevagent_node_callback, monitored_node
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt


class State(TypedDict):
    pages: int


@monitored_node("fetch")
def fetch(state: State) -> State:
    return {"pages": state["pages"] + 1}


@monitored_node("read")
async def read(state: State, config: RunnableConfig) -> State:
    assert config["configurable"]["thread_id"]
    return {"pages": state["pages"]}


def told(state: State) -> State:
    clevagent_node_callback("told", tokens=7)
    return state


@monitored_node("ask")
def ask(state: State) -> State:
    interrupt("may I?")
    return state


@monitored_node("fall")
def fall(state: State) -> State:
    raise ValueError("no ground")


def compiled(*nodes: str) -> object:
    graph = StateGraph(State)
    for before, name in zip([START, *nodes], nodes, strict=False):
        graph.add_node(name, globals()[name])
        graph.add_edge(before, name)
    return graph.compile(checkpointer=InMemorySaver())


def run(*nodes: str) -> None:
    config = {"configurable": {"thread_id": "1"}, "callbacks": [ClevAgentCallbackHandler()]}
    asyncio.run(compiled(*nodes).ainvoke({"pages": 0}, config=config))


def work() -> None:
    run("fetch", "read", "told")


def wait() -> None:
    run("fetch", "ask")


def fail() -> None:
    run("fall")


twice.run(work, wait, fail)
