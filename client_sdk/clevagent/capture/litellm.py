"""LiteLLM, through its own callback. Many of its calls go through OpenAI's SDK: those are known again by their id."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from clevagent.capture.patch import Change
from clevagent.capture.providers import LITELLM, provider_of
from clevagent.capture.usage import anthropic_counts, openai_counts, report
from clevagent.log import once

MODULE = "litellm"
# A program may replace one of these lists after us; LiteLLM copies what is in the first into the others at each call.
JOINED = ("callbacks", "success_callback", "_async_success_callback")
COPIED = ("input_callback", "_async_input_callback", "failure_callback", "_async_failure_callback")


def changes(module: Any) -> list[Change]:
    return [Callback(module)]


def is_calling() -> bool:
    """Whether this runs inside a call of LiteLLM, which will tell of it by itself; for answers that have no id."""
    frame = sys._getframe(1) if MODULE in sys.modules else None
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith("litellm."):
            return True
        frame = frame.f_back
    return False


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
        for name in (*JOINED, *COPIED):
            entries = getattr(self._module, name, None)
            if isinstance(entries, list) and self._logger in entries:
                entries.remove(self._logger)


def _logger() -> Any:
    base: Any = importlib.import_module("litellm.integrations.custom_logger").CustomLogger

    class Logger(base):  # type: ignore[misc]
        def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
            _heard(kwargs, response_obj)

        async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
            _heard(kwargs, response_obj)

    return Logger()


def _heard(call: Mapping[str, Any], response: Any) -> None:
    try:
        _count(call, response)
    except Exception as error:
        once(f"clevagent: calls of litellm are not all counted: {error!r}")


def _count(call: Mapping[str, Any], response: Any) -> None:
    body = _plain(response)
    usage = _plain(body.get("usage"))
    if not usage or call.get("cache_hit"):
        return
    is_message = body.get("type") == "message"
    report(
        model=body.get("model") or call.get("model"),
        provider=_provider(call),
        # Both of its callbacks may hear of one call that has no id of the provider's.
        call_id=body.get("id") or call.get("litellm_call_id"),
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
