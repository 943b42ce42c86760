"""The one place that every answer of the OpenAI and Anthropic SDKs passes, of both generations of HTTP library.

Bodies and single events of streams come by, decoded, before the caller gets its object; raw answers when parsed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Callable

from clevagent.capture.patch import Change, Patch
from clevagent.capture.providers import provider_of

NEEDS = {"data", "cast_to", "response"}


@dataclass(frozen=True)
class Answer:
    """A decoded body or event, and the HTTP response that it came with."""

    data: dict[str, Any]
    response: Any
    client: Any

    @property
    def path(self) -> str:
        return str(self.response.request.url.path).rstrip("/")

    @property
    def is_posted(self) -> bool:
        return str(self.response.request.method) == "POST"

    @property
    def asked_model(self) -> str:
        """The model that the request named; empty where it cannot be read."""
        try:
            return str(json.loads(self.response.request.content).get("model") or "")
        except (ValueError, AttributeError):
            return ""

    @property
    def provider(self) -> str | None:
        return provider_of(self.client, str(self.response.request.url.host))

    def is_of(self, ends: Iterable[str]) -> bool:
        """Whether a POST to one of these ends of a path brought it."""
        return self.is_posted and self.path.endswith(tuple(ends))


def changes(base_client: Any, look: Callable[[Answer], None]) -> list[Change]:
    """Let `look` see each answer of the SDK whose module `_base_client` this is."""

    def seen(client: Any, kwargs: dict[str, Any]) -> None:
        data = kwargs.get("data")
        if isinstance(data, dict):
            look(Answer(data, kwargs["response"], client))

    return [Patch(base_client.BaseClient, "_process_response_data", NEEDS, seen)]
