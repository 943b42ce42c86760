"""OpenAI Agents SDK: hooks for a run.

result = await Runner.run(agent, question, hooks=ClevAgentHooks())
"""

from __future__ import annotations

import json
from typing import Any

from clevagent.integrations import report
from clevagent.integrations.report import OpenCalls, quiet

try:
    from agents import RunHooks
except ImportError as problem:
    raise report.not_installed("The OpenAI Agents SDK", "openai-agents") from problem

# Prefix of the SDK's result for a failed tool, unless the tool has its own `failure_error_function`.
FAILURE_PREFIX = "An error occurred while running the tool"
# The SDK's placeholder for a chat completion stream without an id.
NO_ID = "__fake_id__"


class ClevAgentHooks(RunHooks[Any]):
    """Reports tool calls, model usage and steps of a run. One object can serve many runs.

    Exceptions of a run are not reported here, because the SDK calls no hook for them.
    """

    def __init__(self) -> None:
        self._calls = OpenCalls()

    @quiet
    async def on_llm_end(self, context: Any, agent: Any, response: Any) -> None:
        about = _about(response)
        model = about.get("model") or _model_of(agent)
        tokens = _tokens_of(response.usage)
        call_id = about.get("response_id") or response.response_id
        known = None if call_id == NO_ID else call_id
        report.usage(sdk="openai", call_id=known, model=model, provider=_provider_of(agent), **tokens)
        report.step(f"{agent.name}: {model} answered")

    @quiet
    async def on_tool_start(self, context: Any, agent: Any, tool: Any) -> None:
        self._calls.begin(_key(context, tool), tool.name, _decoded(getattr(context, "tool_arguments", None)))

    @quiet
    async def on_tool_end(self, context: Any, agent: Any, tool: Any, result: object) -> None:
        self._calls.end(_key(context, tool), result, ok=not str(result).startswith(FAILURE_PREFIX))

    @quiet
    async def on_handoff(self, context: Any, from_agent: Any, to_agent: Any) -> None:
        report.step(f"{from_agent.name} handed off to {to_agent.name}")


def _key(context: Any, tool: Any) -> Any:
    """Return the call id. Tools that are not functions have none, but a context per run."""
    return getattr(context, "tool_call_id", None) or (id(context), tool.name)


def _decoded(arguments: Any) -> Any:
    try:
        return json.loads(arguments)
    except (TypeError, ValueError):
        return arguments


def _about(response: Any) -> dict[str, Any]:
    """Return the details that chat completions attach; the Responses API has them elsewhere."""
    data = (getattr(item, "provider_data", None) for item in response.output)
    return next((about for about in data if isinstance(about, dict)), {})


def _model_of(agent: Any) -> str:
    model = agent.model
    return str(model if isinstance(model, str) else getattr(model, "model", None) or "unknown")


def _provider_of(agent: Any) -> str | None:
    """Return OpenAI, unless the model is named "provider/model" or its class is not the SDK's own."""
    model = agent.model
    if isinstance(model, str):
        return model.partition("/")[0] if "/" in model else "openai"
    return "openai" if model is None or type(model).__name__.startswith("OpenAI") else None


def _tokens_of(usage: Any) -> dict[str, int]:
    of_input, of_output = usage.input_tokens_details, usage.output_tokens_details
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": getattr(of_input, "cached_tokens", None) or 0,
        "cache_write_tokens": getattr(of_input, "cache_write_tokens", None) or 0,
        "reasoning_tokens": getattr(of_output, "reasoning_tokens", None) or 0,
    }
