"""CrewAI: a step callback, and a listener for the crew's events about tools and model calls.

crew = Crew(agents=[...], tasks=[...], step_callback=clevagent_step_callback)
"""

from __future__ import annotations

from collections import deque
from typing import Any

import clevagent
from clevagent.integrations import report
from clevagent.integrations.report import quiet

try:
    from crewai import events
except ImportError:  # The published name must be importable without CrewAI.
    events = None

MAX_STEP = 160
_failed: deque[Any] = deque(maxlen=100)


@quiet
def clevagent_step_callback(step_output: Any) -> None:
    """Report a completed step, with its output as text unless `send_args` is off."""
    has_text = step_output and report.may_send_contents()
    report.step(str(_text_of(step_output))[:MAX_STEP] if has_text else "step completed")


def _text_of(step: Any) -> Any:
    return getattr(step, "output", None) or getattr(step, "result", None) or step


@quiet
def _on_tool_finished(source: Any, event: Any) -> None:
    ms = (event.finished_at - event.started_at).total_seconds() * 1000
    failed = getattr(event, "failure", None) is not None
    clevagent.log_tool_call(event.tool_name, args=event.tool_args, result=event.output, ms=ms, ok=not failed)


@quiet
def _on_tool_error(source: Any, event: Any) -> None:
    clevagent.log_tool_call(event.tool_name, args=event.tool_args, result=repr(event.error), ok=False)


@quiet
def _on_llm_completed(source: Any, event: Any) -> None:
    used = getattr(event, "usage", None) or {}
    tokens = {
        "input_tokens": used.get("prompt_tokens") or used.get("input_tokens") or 0,
        "output_tokens": used.get("completion_tokens") or used.get("output_tokens") or 0,
        "cache_read_tokens": used.get("cached_prompt_tokens") or 0,
        "cache_write_tokens": used.get("cache_creation_tokens") or 0,
        "reasoning_tokens": used.get("reasoning_tokens") or 0,
    }
    provider = getattr(source, "provider", None)
    run_id, known = getattr(event, "call_id", None), getattr(event, "response_id", None)
    model = event.model or "unknown"
    report.usage(run_id=run_id, sdk=provider, call_id=known, model=model, provider=provider, **tokens)
    clevagent.ping()


@quiet
def _on_llm_failed(source: Any, event: Any) -> None:
    """CrewAI reports one failure several times, at different depths."""
    call_id = getattr(event, "call_id", None)
    if call_id is None or call_id not in _failed:
        _failed.append(call_id)
        report.error("LLM error", event.error)


def _listen() -> None:
    """Once per process: events arrive from every crew."""
    handlers = {
        events.ToolUsageFinishedEvent: _on_tool_finished,
        events.ToolUsageErrorEvent: _on_tool_error,
        events.LLMCallCompletedEvent: _on_llm_completed,
        events.LLMCallFailedEvent: _on_llm_failed,
    }
    for kind, handler in handlers.items():
        events.crewai_event_bus.on(kind)(handler)


if events is not None:
    _listen()
