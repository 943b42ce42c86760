"""Every way to call one SDK, under a budget of two calls. Prints how each ended."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys
import time
from typing import Any

import clevagent

MODELS = os.environ["MODEL_SERVER"]
MESSAGES: Any = [{"role": "user", "content": "?"}]


def of_openai() -> dict[str, Any]:
    import openai

    options: Any = {"base_url": f"{MODELS}/v1", "api_key": "key"}
    client, aio = openai.OpenAI(**options), openai.AsyncOpenAI(**options)
    stream: Any = {"stream": True, "extra_body": {"stream_options": {"include_usage": True}}}
    return {
        "create": lambda model: client.chat.completions.create(model=model, messages=MESSAGES),
        "async": lambda model: aio.chat.completions.create(model=model, messages=MESSAGES),
        "stream": lambda model: list(client.chat.completions.create(model=model, messages=MESSAGES, **stream)),
    }


def of_anthropic() -> dict[str, Any]:
    import anthropic

    options: Any = {"base_url": MODELS, "api_key": "key"}
    client, aio = anthropic.Anthropic(**options), anthropic.AsyncAnthropic(**options)
    ask: Any = {"messages": MESSAGES, "max_tokens": 99}
    return {
        "create": lambda model: client.messages.create(model=model, **ask),
        "async": lambda model: aio.messages.create(model=model, **ask),
        "stream": lambda model: list(client.messages.create(model=model, stream=True, **ask)),
    }


def of_google() -> dict[str, Any]:
    from google import genai

    client = genai.Client(api_key="key", http_options={"base_url": MODELS})
    return {
        "create": lambda model: client.models.generate_content(model=model, contents="?"),
        "async": lambda model: client.aio.models.generate_content(model=model, contents="?"),
        "stream": lambda model: list(client.models.generate_content_stream(model=model, contents="?")),
    }


def of_litellm() -> dict[str, Any]:
    import litellm

    own: Any = {"messages": MESSAGES, "api_key": "key", "api_base": f"{MODELS}/v1"}
    return {
        "create": lambda model: litellm.completion(model=f"openai/{model}", **own),
        "async": lambda model: litellm.acompletion(model=f"openai/{model}", **own),
    }


def outcome(name: str, call: Any) -> str:
    with clevagent.Budget(calls=2):
        for made in range(4):
            try:
                found = call(name)
                if inspect.isawaitable(found):
                    asyncio.run(_wait(found))
            except clevagent.Stop as stop:
                return f"{type(stop).__name__} after {made}"
            time.sleep(0.05)  # LiteLLM's callbacks run in a thread
    return "not stopped"


async def _wait(found: Any) -> Any:
    return await found


clevagent.guard()
calls = {"openai": of_openai, "anthropic": of_anthropic, "google": of_google, "litellm": of_litellm}[sys.argv[1]]()
print(json.dumps({name: outcome(name, call) for name, call in calls.items()}))
