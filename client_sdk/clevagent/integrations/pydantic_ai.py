"""Pydantic AI, from 2.0: a capability for agents.

agent = Agent("openai:gpt-5", capabilities=[ClevAgentCapability()])
"""

from __future__ import annotations

from typing import Any

import clevagent
from clevagent.integrations import report
from clevagent.integrations.report import quiet

try:
    from pydantic_ai.capabilities import AbstractCapability
    from pydantic_ai.exceptions import ApprovalRequired, CallDeferred
except ImportError as problem:
    raise report.not_installed("Pydantic AI from 2.0", "'pydantic-ai-slim>=2'") from problem


class ClevAgentCapability(AbstractCapability[Any]):
    """Reports tool calls, model usage, steps and errors of an agent, streamed or not."""

    async def wrap_model_request(self, ctx: Any, *, request_context: Any, handler: Any) -> Any:
        response = await handler(request_context)
        _answered(response)
        return response

    async def wrap_tool_execute(self, ctx: Any, *, call: Any, tool_def: Any, args: Any, handler: Any) -> Any:
        postponed: Exception | None = None
        async with clevagent.tool(call.tool_name, args) as running:
            try:
                running.result = await handler(args)
            except (ApprovalRequired, CallDeferred) as problem:  # the tool will run later: nothing failed
                postponed = problem
        if postponed is not None:
            raise postponed
        return running.result

    async def on_run_error(self, ctx: Any, *, error: BaseException) -> Any:
        if isinstance(error, Exception):
            report.failed("run", error)
        raise error


@quiet
def _answered(response: Any) -> None:
    usage = response.usage
    tokens = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "reasoning_tokens": usage.details.get("reasoning_tokens", 0),
    }
    model, provider = response.model_name or "unknown", response.provider_name
    sdk = None if provider is None else provider.partition("-")[0]
    report.usage(sdk=sdk, call_id=response.provider_response_id, model=model, provider=provider, **tokens)
    report.step(f"{model} answered")
