"""What every kind of channel is: a module with the names of `ChannelKind`. Kinds see a Message, never our models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import msgspec


@dataclass(frozen=True, slots=True)
class Message:
    """What is told, ready to be put into any channel's words.

    `id` is the same on every attempt. `type` is the webhook's (`incident.opened` …, `channel.test`), `payload` its
    `data`. `severity` is `warning`, `critical` or `ok`. `lines` are short facts, most important first. `thread` is the
    same for all messages of one incident. Code in lines and facts stands in backticks. `facts` are what it stands on,
    label and text, for kinds that have room for it; texts of several lines are such as tracebacks.
    """

    id: str
    type: str
    at: datetime
    title: str
    lines: tuple[str, ...]
    severity: str
    url: str
    team: str
    project: str
    payload: dict[str, Any]
    thread: str
    facts: tuple[tuple[str, str], ...] = ()


class ChannelError(Exception):
    """A message did not arrive.

    `permanent`: trying again is useless. `disable`: the receiver asked for no more (HTTP 410), so the channel is
    switched off. `retry_after`: seconds the receiver asked us to wait. The text is shown to people: no secrets in it.
    """

    def __init__(
        self, message: str, *, permanent: bool = False, disable: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.disable = disable
        self.retry_after = retry_after


class ConfigError(ValueError):
    """A channel's settings do not make sense. `field` is the one to mend; the text says how."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class ChannelKind(Protocol):
    """The face of a module in this package. Its `Config` is opaque to callers: what `parse` gives, `send` takes."""

    @property
    def KIND(self) -> str:  # noqa: N802
        """As stored and as named in the API; also the module's name."""

    @property
    def LABEL(self) -> str:  # noqa: N802
        """As shown to people."""

    @property
    def Config(self) -> type[msgspec.Struct]:  # noqa: N802
        """Its settings. Each that a person enters has a title and a description for the form."""

    @property
    def TELLS_ACKNOWLEDGED(self) -> bool:  # noqa: N802
        """Whether its readers want to hear that somebody takes care."""

    def parse(self, data: Mapping[str, Any]) -> Any:
        """The Config in stored or entered data; unknown fields are ignored. Raises `ConfigError`."""

    def generate(self) -> dict[str, str]:
        """Settings made by us when a channel is created, e.g. a signing secret: shown once, never entered."""

    def public(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The stored settings as anybody of the team may see them."""

    def send(self, config: Any, message: Message) -> None:
        """Hand a message over. Raises `ChannelError`. Takes seconds at most: the caller holds a lease."""
