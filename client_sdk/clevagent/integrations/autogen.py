"""AutoGen 0.2: pyautogen, and ag2 up to 0.14. For autogen-agentchat see `agentchat`.

monitored_chat(user_proxy, assistant, message="Analyze this data")
"""

from __future__ import annotations

import json
import threading
import weakref
from collections import OrderedDict
from typing import Any

import clevagent
from clevagent.integrations import report
from clevagent.integrations.report import OpenCalls, quiet

# Tool calls remembered by id, so that a call seen by several agents is reported once.
MAX_REMEMBERED = 1000
# Prefix of AutoGen's result for a tool that failed or does not exist.
FAILURE_PREFIX = "Error: "
# AutoGen's hook for the moment an agent sends its reply.
SENDS = "process_message_before_send"

_calls = OpenCalls()
_reported: OrderedDict[str, None] = OrderedDict()
_counted: weakref.WeakKeyDictionary[Any, dict[str, tuple[int, int]]] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def clevagent_reply_func(
    recipient: Any, messages: list[Any] | None = None, sender: Any = None, config: Any = None
) -> tuple[bool, None]:
    """A reply function that only reports and leaves the reply to others.

    Use `agent.register_reply([Agent], clevagent_reply_func)` on both sides of a chat, or `monitored_chat`.
    """
    _observe(recipient, messages or [])
    return False, None


def monitored_chat(initiator: Any, recipient: Any, message: Any = None, **kwargs: Any) -> Any:
    """Call `initiator.initiate_chat(recipient, message=message, **kwargs)` with both sides reporting.

    With a group chat manager, all members report.
    """
    everyone = _everyone(initiator, recipient)
    for agent in everyone:
        _register(agent)
    report.step(f"autogen:chat started with {_name_of(recipient)}")
    try:
        result = initiator.initiate_chat(recipient, message=message, **kwargs)
    except Exception as problem:
        report.failed("autogen:chat", problem)
        raise
    finally:
        for agent in everyone:
            _count(agent)
    report.step(f"autogen:chat completed with {_name_of(recipient)}")
    return result


def _everyone(*agents: Any) -> list[Any]:
    groups = (getattr(agent, "groupchat", None) for agent in agents)
    members = [member for group in groups for member in getattr(group, "agents", ())]
    return [*agents, *(member for member in members if all(member is not agent for agent in agents))]


def _register(agent: Any) -> None:
    """Register the reply function, once per agent."""
    try:
        from autogen import Agent
    except ImportError as problem:
        raise report.not_installed("AutoGen 0.2", "'ag2[openai]<1'") from problem
    known = getattr(agent, "_reply_func_list", [])
    if all(entry.get("reply_func") is not clevagent_reply_func for entry in known):
        agent.register_reply([Agent, None], clevagent_reply_func)


@quiet
def _observe(recipient: Any, messages: list[Any]) -> None:
    _count_when_it_sends(recipient)
    last = messages[-1] if messages and isinstance(messages[-1], dict) else {}
    for request in last.get("tool_calls") or []:
        _begin(request)
    for response in last.get("tool_responses") or []:
        _end(response, messages)
    report.step(f"autogen:{_name_of(recipient)} replies")


def _begin(request: Any) -> None:
    if request["id"] not in _reported:
        _calls.begin(request["id"], *_called(request))


def _end(response: Any, messages: list[Any]) -> None:
    """Report a tool's result. If only this side reports, the call is earlier in the conversation."""
    key, result = response["tool_call_id"], response.get("content")
    with _lock:
        if key in _reported:
            return
        _reported[key] = None
        if len(_reported) > MAX_REMEMBERED:
            _reported.popitem(last=False)
    ok = not str(result).startswith(FAILURE_PREFIX)
    if not _calls.end(key, result, ok=ok):
        asked = (call for message in reversed(messages) for call in message.get("tool_calls") or [])
        name, args = next((_called(call) for call in asked if call["id"] == key), ("unknown_tool", None))
        clevagent.log_tool_call(name, args=args, result=result, ok=ok)


def _called(request: Any) -> tuple[str, Any]:
    function = request["function"]
    try:
        return function["name"], json.loads(function["arguments"])
    except (TypeError, ValueError):
        return function["name"], function["arguments"]


def _count_when_it_sends(agent: Any) -> None:
    """Reply functions run before the reply exists; its usage is known once it is sent."""
    hooks = getattr(agent, "hook_lists", {}).get(SENDS)
    if hooks is not None and _on_send not in hooks:
        agent.register_hook(SENDS, _on_send)


def _on_send(sender: Any, message: Any, recipient: Any, silent: Any) -> Any:
    _count(sender)
    return message


@quiet
def _count(agent: Any) -> None:
    """Report the usage since the last time. AutoGen only keeps totals per model, without call ids."""
    client = getattr(agent, "client", None)
    sums = getattr(client, "actual_usage_summary", None)
    if not isinstance(sums, dict):
        return
    now = {model: _sum_of(used) for model, used in list(sums.items()) if isinstance(used, dict)}
    with _lock:
        before = _counted.get(client, {})
        _counted[client] = now
    for model, (asked, answered) in now.items():
        asked_before, answered_before = before.get(model, (0, 0))
        new: dict[str, Any] = {"input_tokens": asked - asked_before, "output_tokens": answered - answered_before}
        if min(new.values()) >= 0:
            report.usage(sdk=_sdk_of(agent), model=model, **new)


def _sum_of(used: dict[str, Any]) -> tuple[int, int]:
    return used.get("prompt_tokens") or 0, used.get("completion_tokens") or 0


def _sdk_of(agent: Any) -> str:
    """Return the SDK used by the agent's first model."""
    config = getattr(agent, "llm_config", None) or {}
    models = config.get("config_list") or [config]
    first = models[0]
    kind = first.get("api_type") if hasattr(first, "get") else getattr(first, "api_type", None)
    return "openai" if kind in (None, "azure", "openai", "open_ai") else str(kind)


def _name_of(agent: Any) -> str:
    return str(getattr(agent, "name", "unknown"))
