"""The method through which every answer of the OpenAI and Anthropic SDKs passes, with either HTTP library.

It sees decoded bodies and stream events before the caller does, and raw answers once they are parsed.
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
    """A decoded body or event, with its HTTP response."""

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
        """The model named in the request, or "" if that cannot be read."""
        try:
            return str(json.loads(self.response.request.content).get("model") or "")
        except (ValueError, AttributeError):
            return ""

    @property
    def provider(self) -> str | None:
        return provider_of(self.client, str(self.response.request.url.host))

    def is_of(self, ends: Iterable[str]) -> bool:
        """Whether it answers a POST to a path with one of these endings."""
        return self.is_posted and self.path.endswith(tuple(ends))


def changes(base_client: Any, look: Callable[[Answer], None]) -> list[Change]:
    """Call `look` with each answer of the SDK that this `_base_client` module belongs to."""

    def seen(client: Any, kwargs: dict[str, Any]) -> None:
        data = kwargs.get("data")
        if isinstance(data, dict):
            look(Answer(data, kwargs["response"], client))

    return [Patch(base_client.BaseClient, "_process_response_data", NEEDS, seen)]
