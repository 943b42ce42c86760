"""Asks before each model call whether it may be sent. A `Stop` is raised into the program, instead of the call.

The functions come before any retry of the SDKs, so a stop is neither retried nor wrapped in their errors.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable, Mapping
from typing import Any, Callable

from clevagent import limits
from clevagent.capture.patch import Change, Patch

GOOGLE_MODULE = "google.genai._api_client"
GOOGLE_CALLS = (":generateContent", ":streamGenerateContent", ":embedContent", ":batchEmbedContents", ":predict")
GOOGLE_REQUESTS = ("request", "request_streamed", "async_request", "async_request_streamed")
NOT_STOPPED = "its calls cannot be stopped"


class Gate(Patch):
    """Calls `look(owner, all arguments by name)` before each call; a `Stop` that it raises reaches the caller."""

    problem = NOT_STOPPED

    def _observed(self, before: Any) -> Any:
        signature = inspect.signature(before)

        def look(owner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            try:
                given = signature.bind(owner, *args, **kwargs).arguments
            except TypeError:
                return  # the function says what is wrong
            self._look(owner, given)

        @functools.wraps(before)
        def observed(owner: Any, *args: Any, **kwargs: Any) -> Any:
            look(owner, args, kwargs)
            return before(owner, *args, **kwargs)

        @functools.wraps(before)
        async def awaited(owner: Any, *args: Any, **kwargs: Any) -> Any:
            look(owner, args, kwargs)
            return await before(owner, *args, **kwargs)

        return awaited if inspect.iscoroutinefunction(before) else observed


def stainless(ends: Iterable[str]) -> Callable[[Any], list[Change]]:
    """For the `_base_client` of OpenAI or Anthropic: posts to these paths are model calls."""

    def look(_client: Any, given: Mapping[str, Any]) -> None:
        options = given["options"]
        path = str(options.url).partition("?")[0].rstrip("/")
        if str(options.method).lower() == "post" and path.endswith(tuple(ends)):
            limits.start_call(_messages(options.json_data))

    return lambda module: [
        Gate(owner, "request", {"options"}, look) for owner in (module.SyncAPIClient, module.AsyncAPIClient)
    ]


def google(module: Any) -> list[Change]:
    def look(_client: Any, given: Mapping[str, Any]) -> None:
        if any(call in str(given["path"]) for call in GOOGLE_CALLS):
            limits.start_call(None)

    owner = getattr(module, "BaseApiClient", None) or getattr(module, "ApiClient", None)
    return [Gate(owner, name, {"path"}, look) for name in GOOGLE_REQUESTS]


def litellm(module: Any) -> list[Change]:
    """Only asks: the call is counted by the SDK that sends it, or by LiteLLM's callback.

    Stopped any later, LiteLLM would take the stop for an error of the provider.
    """

    def look(_client: Any, given: Mapping[str, Any]) -> None:
        limits.check()

    return [Gate(module.utils, "function_setup", set(), look)]


def _messages(body: Any) -> Any:
    """Of a chat, a message or a response."""
    return body.get("messages") or body.get("input") if isinstance(body, Mapping) else None
