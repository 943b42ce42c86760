"""LangChain: a callback handler for models, chains, agents and graphs.

handler = ClevAgentCallbackHandler() chain.invoke(question, config={"callbacks": [handler]})
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clevagent.failures import is_purposeful
from clevagent.integrations import report
from clevagent.integrations.report import MAX_OPEN, OpenCalls, StreamProgress, quiet

if TYPE_CHECKING:
    Handler = object
else:
    try:
        from langchain_core.callbacks import BaseCallbackHandler as Handler
    except ImportError:  # The published name must be importable without LangChain.
        Handler = object


class ClevAgentCallbackHandler(Handler):
    """Reports tool calls, model usage, steps and errors, in sync and async code.

    ping_on_llm_end: each model answer is a step. ping_on_chain_end: each end of an outermost chain is a step.
    """

    # The handler never blocks, so it can run inline instead of in another thread.
    run_inline = True

    def __init__(self, ping_on_llm_end: bool = True, ping_on_chain_end: bool = False) -> None:
        self.ping_on_llm_end = ping_on_llm_end
        self.ping_on_chain_end = ping_on_chain_end
        self._calls = OpenCalls()
        self._stream = StreamProgress()
        self._asked: dict[Any, dict[str, Any]] = {}
        self._chains: dict[Any, None] = {}

    def on_chat_model_start(self, serialized: Any, messages: Any, **run: Any) -> None:
        self.on_llm_start(serialized, messages, **run)

    @quiet
    def on_llm_start(self, serialized: Any, prompts: Any, **run: Any) -> None:
        _keep(self._asked, run.get("run_id"), run.get("metadata") or {})

    @quiet
    def on_llm_new_token(self, token: Any, **run: Any) -> None:
        self._stream.report()

    @quiet
    def on_llm_end(self, response: Any, **run: Any) -> None:
        used = _usage_of(response, self._asked.pop(run.get("run_id"), {}))
        report.usage(run_id=run.get("run_id"), **used)
        if self.ping_on_llm_end:
            report.step(f"{used['model']} answered")

    @quiet
    def on_llm_error(self, error: BaseException, **run: Any) -> None:
        self._asked.pop(run.get("run_id"), None)
        # The chain around it may try again or fall back to another model; if it does not, it fails itself.
        if run.get("parent_run_id") not in self._chains:
            _failed("LLM error", error)

    @quiet
    def on_chain_start(self, serialized: Any, inputs: Any, **run: Any) -> None:
        _keep(self._chains, run.get("run_id"), None)

    @quiet
    def on_chain_end(self, outputs: Any, **run: Any) -> None:
        if self._outermost(run) and self.ping_on_chain_end:
            report.step("chain completed")

    @quiet
    def on_chain_error(self, error: BaseException, **run: Any) -> None:
        if self._outermost(run):
            _failed("Chain error", error)

    @quiet
    def on_tool_start(self, serialized: Any, input_str: str, **run: Any) -> None:
        name = run.get("name") or (serialized or {}).get("name") or "unknown_tool"
        args = input_str if run.get("inputs") is None else run["inputs"]
        self._calls.begin(run["run_id"], name, args)

    @quiet
    def on_tool_end(self, output: Any, **run: Any) -> None:
        # A tool message contains a unique id, which would make every result look new.
        failed = getattr(output, "status", None) == "error"
        self._calls.end(run.get("run_id"), getattr(output, "content", output), ok=not failed)

    @quiet
    def on_tool_error(self, error: BaseException, **run: Any) -> None:
        self._calls.end(run.get("run_id"), repr(error), ok=is_control_flow(error))

    def _outermost(self, run: dict[str, Any]) -> bool:
        """Forget an ended chain. Return whether no chain known to this handler encloses it."""
        self._chains.pop(run.get("run_id"), None)
        return run.get("parent_run_id") not in self._chains


def _keep(known: dict[Any, Any], key: Any, value: Any) -> None:
    if len(known) >= MAX_OPEN:
        known.pop(next(iter(known)), None)
    known[key] = value


def _failed(text: str, problem: BaseException) -> None:
    if not is_control_flow(problem):
        report.error(text, problem)


def is_control_flow(problem: BaseException) -> bool:
    """Whether nothing failed: a stream was left, a task cancelled, or LangGraph interrupted or left a graph."""
    names = {kind.__name__ for kind in type(problem).__mro__}
    return is_purposeful(problem) or "GraphBubbleUp" in names


def _usage_of(response: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments for `report.usage`."""
    output = getattr(response, "llm_output", None) or {}
    message = _message_of(response)
    about = getattr(message, "response_metadata", None) or {}
    tokens = _tokens_of(message) or _old_tokens_of(output)
    provider = about.get("model_provider") or output.get("model_provider") or asked.get("ls_provider")
    named = about.get("model_name") or about.get("model") or output.get("model_name") or output.get("model")
    model = named or asked.get("ls_model_name") or "unknown"
    call_id = about.get("id") or output.get("id") or _id_of(message)
    return {"model": model, "provider": provider, "sdk": provider, "call_id": call_id, **tokens}


def _id_of(message: Any) -> str | None:
    """Return the provider's id, unless LangChain replaced it with its own."""
    message_id = getattr(message, "id", None)
    return None if not message_id or message_id.startswith(("run-", "lc_run-")) else str(message_id)


def _message_of(response: Any) -> Any:
    generations = getattr(response, "generations", None) or [[]]
    return getattr(generations[0][0], "message", None) if generations[0] else None


def _tokens_of(message: Any) -> dict[str, int]:
    used = getattr(message, "usage_metadata", None)
    if not used:
        return {}
    of_input, of_output = used.get("input_token_details") or {}, used.get("output_token_details") or {}
    return {
        "input_tokens": used.get("input_tokens") or 0,
        "output_tokens": used.get("output_tokens") or 0,
        "cache_read_tokens": of_input.get("cache_read") or 0,
        "cache_write_tokens": of_input.get("cache_creation") or 0,
        "reasoning_tokens": of_output.get("reasoning") or 0,
    }


def _old_tokens_of(output: dict[str, Any]) -> dict[str, int]:
    """Read the `token_usage` of models from before `usage_metadata`. A bare total counts as input."""
    used = output.get("token_usage") or output.get("usage") or {}
    answered = used.get("completion_tokens") or used.get("output_tokens") or 0
    asked = used.get("prompt_tokens") or used.get("input_tokens") or 0
    asked = asked or max(0, (used.get("total_tokens") or 0) - answered)
    return {"input_tokens": asked, "output_tokens": answered} if asked or answered else {}
