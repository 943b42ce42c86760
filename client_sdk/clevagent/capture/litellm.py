"""LiteLLM, through its own callback.

Many of its calls use OpenAI's SDK, which is captured as well and is more accurate: LiteLLM may estimate the usage of
streams. Such calls are counted there only.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

from clevagent.capture import gate
from clevagent.capture.patch import Change
from clevagent.capture.providers import LITELLM, provider_of
from clevagent.capture.stainless import Answer
from clevagent.capture.usage import anthropic_counts, openai_counts, report
from clevagent.log import warn_once
from clevagent.recent import Recent

MODULE = "litellm"
# LiteLLM copies the first list into the others on each call, and a program may replace any of them.
JOINED = ("callbacks", "success_callback", "_async_success_callback")
COPIED = ("input_callback", "_async_input_callback", "failure_callback", "_async_failure_callback")

_lock = threading.Lock()
# Calls per model that an SDK has counted and whose callback is still to come.
_sdk_calls: Counter[str] = Counter()
_seen_calls = Recent()


def changes(module: Any) -> list[Change]:
    return [Callback(module), *gate.litellm(module)]


def note_litellm_call(answer: Answer) -> None:
    """Note that an SDK counted this answer, if LiteLLM made the call; its callback is then ignored.

    Ids do not match in every release, so the call stack is the only evidence.
    """
    if MODULE in sys.modules and _is_calling():
        with _lock:
            _sdk_calls[answer.asked_model] += 1


def _is_calling() -> bool:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith("litellm."):
            return True
        frame = frame.f_back
    return False


def _went_through_sdk(call: Mapping[str, Any]) -> bool:
    model = str(call.get("model") or "")
    with _lock:
        if _sdk_calls[model] <= 0:
            return False
        _sdk_calls[model] -= 1
        return True


class Callback:
    """Our entry in LiteLLM's lists of success callbacks."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._logger: Any = None

    def apply(self) -> bool:
        """Add the entry. Return False, with one warning, if this release lacks the lists."""
        lists: list[Any] = [getattr(self._module, name, None) for name in JOINED]
        if not all(isinstance(each, list) for each in lists):
            warn_once("clevagent: litellm is not as expected; its model calls are not counted automatically")
            return False
        self._logger = _logger()
        for each in lists:
            each.append(self._logger)
        return True

    def undo(self) -> None:
        _sdk_calls.clear()
        for name in (*JOINED, *COPIED):
            entries = getattr(self._module, name, None)
            if isinstance(entries, list) and self._logger in entries:
                entries.remove(self._logger)


def _logger() -> Any:
    base: Any = importlib.import_module("litellm.integrations.custom_logger").CustomLogger

    class ClevAgentLogger(base):  # type: ignore[misc]
        def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
            _heard(kwargs, response_obj)

        async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
            _heard(kwargs, response_obj)

    return ClevAgentLogger()


def _heard(call: Mapping[str, Any], response: Any) -> None:
    try:
        _count(call, response)
    except Exception as error:
        warn_once(f"clevagent: some calls of litellm are not counted: {error!r}")


def _count(call: Mapping[str, Any], response: Any) -> None:
    body = _plain(response)
    usage = _plain(body.get("usage"))
    own_id = call.get("litellm_call_id")
    if not usage or call.get("cache_hit") or (own_id and own_id in _seen_calls):
        return
    _seen_calls.add(own_id)
    if _went_through_sdk(call):
        return
    is_message = body.get("type") == "message"
    report(
        model=body.get("model") or call.get("model"),
        provider=_provider(call),
        call_id=body.get("id") or own_id,
        counts=anthropic_counts(usage) if is_message else openai_counts(usage, body.get("service_tier")),
        is_counted=False,
    )


def _provider(call: Mapping[str, Any]) -> str | None:
    """Return the provider by the request's address, else by LiteLLM's name. A custom address does not reveal it."""
    details = call.get("litellm_params") or {}
    name = str(call.get("custom_llm_provider") or details.get("custom_llm_provider") or "")
    base = details.get("api_base")
    by_host = provider_of(None, urlsplit(str(base)).hostname or "") if base else None
    if by_host or (base and name in ("openai", "text-completion-openai")):
        return by_host
    return LITELLM.get(name, name) or None


def _plain(thing: Any) -> Mapping[str, Any]:
    if isinstance(thing, Mapping):
        return thing
    dump = getattr(thing, "model_dump", None)
    return dump() if callable(dump) else {}
