"""LiteLLM, through its own callback.

Many of its calls go through OpenAI's SDK, which is watched itself. Those are left to it: of a stream LiteLLM may guess.
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

from clevagent.capture.patch import Change
from clevagent.capture.providers import LITELLM, provider_of
from clevagent.capture.recent import Recent
from clevagent.capture.stainless import Answer
from clevagent.capture.usage import anthropic_counts, openai_counts, report
from clevagent.log import once

MODULE = "litellm"
# A program may replace one of these lists after us; LiteLLM copies what is in the first into the others at each call.
JOINED = ("callbacks", "success_callback", "_async_success_callback")
COPIED = ("input_callback", "_async_input_callback", "failure_callback", "_async_failure_callback")

_lock = threading.Lock()
# Calls of each model that went through an SDK and of which the callback has not been heard yet.
_through_sdk: Counter[str] = Counter()
_heard_of = Recent()


def changes(module: Any) -> list[Change]:
    return [Callback(module)]


def note_if_calling(answer: Answer) -> None:
    """An SDK counts this answer; where LiteLLM asked for it, what its callback says of such a call is not counted.

    The ids do not agree in all releases; that the SDK was called from LiteLLM's code shows only here.
    """
    if MODULE in sys.modules and _is_calling():
        with _lock:
            _through_sdk[answer.asked_model] += 1


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
        if _through_sdk[model] <= 0:
            return False
        _through_sdk[model] -= 1
        return True


class Callback:
    """Our entry in LiteLLM's lists of those who hear of each successful call."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._logger: Any = None

    def apply(self) -> bool:
        """Join the lists; False, said once, where this release has none."""
        lists: list[Any] = [getattr(self._module, name, None) for name in JOINED]
        if not all(isinstance(each, list) for each in lists):
            once("clevagent: litellm is not as it was; its model calls are not counted by themselves")
            return False
        self._logger = _logger()
        for each in lists:
            each.append(self._logger)
        return True

    def undo(self) -> None:
        _through_sdk.clear()
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
        once(f"clevagent: calls of litellm are not all counted: {error!r}")


def _count(call: Mapping[str, Any], response: Any) -> None:
    body = _plain(response)
    usage = _plain(body.get("usage"))
    own_id = call.get("litellm_call_id")
    if not usage or call.get("cache_hit") or (own_id and own_id in _heard_of):
        return
    _heard_of.add(own_id)
    if _went_through_sdk(call):
        return
    is_message = body.get("type") == "message"
    report(
        model=body.get("model") or call.get("model"),
        provider=_provider(call),
        call_id=body.get("id") or own_id,
        counts=anthropic_counts(usage) if is_message else openai_counts(usage),
    )


def _provider(call: Mapping[str, Any]) -> str | None:
    """By the address it went to, else by LiteLLM's word; an address of one's own says nothing of who is paid."""
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
