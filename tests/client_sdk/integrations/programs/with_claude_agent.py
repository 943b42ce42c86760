"""The Claude Agent SDK: single questions, a conversation, a failing tool, and a run that ends with an error."""

from __future__ import annotations

import asyncio

import twice
from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, HookMatcher, query
from clevagent.integrations.claude_agent import watched, watched_options

asked: list[str] = []


async def own_hook(hook: dict, tool_use_id: str | None, context: object) -> dict:
    asked.append(hook["tool_name"])
    return {}


async def ask(prompt: str) -> None:
    options = ClaudeAgentOptions(hooks={"PreToolUse": [HookMatcher(hooks=[own_hook])]})
    async for _ in watched(query(prompt=prompt, options=watched_options(options))):
        pass
    assert asked.pop() == "Bash"
    assert len(options.hooks["PreToolUse"]) == 1


async def converse() -> None:
    async with ClaudeSDKClient(options=watched_options()) as client:
        for prompt in ("what is here?", "and now?"):
            await client.query(prompt)
            async for _ in watched(client.receive_response(), client):
                pass


def work() -> None:
    asyncio.run(ask("what is here?"))


def talk() -> None:
    asyncio.run(converse())


def fail() -> None:
    asyncio.run(ask("what is broken?"))


def refuse() -> None:
    asyncio.run(ask("what is refused?"))


twice.run(work, talk, fail, refuse)
