"""The interface of a channel: a module with the names of `ChannelKind`. Channels see a `Message`, never a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

import msgspec


@dataclass(frozen=True, slots=True)
class Message:
    """A notification, independent of the channel that sends it.

    - `id`: the same on every attempt.
    - `type`: `incident.opened`, …, or `channel.test`; also the type of a webhook, whose `data` is `payload`.
    - `severity`: `warning`, `critical` or `ok`.
    - `lines`: short sentences, most important first; code in backticks.
    - `thread`: the same for all messages of an incident.
    - `facts`: the evidence as label and text, for channels with room for it. A traceback has several lines.
    - `recipient`: to whom, for `Personal` channels; empty for all of them, which only a test is sent to.
    - `act_url`: a page on which this recipient, and nobody else, acts on the incident; empty for strangers.
    - `leave_url`: a page on which this recipient unsubscribes; takes a POST, too.
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
    recipient: str = ""
    act_url: str = ""
    leave_url: str = ""


class ChannelError(Exception):
    """A message could not be delivered. The text is shown to people and must not contain a secret.

    `permanent`: retrying is useless. `disable`: the receiver wants no more messages (HTTP 410), so the channel is
    disabled. `retry_after`: seconds the receiver asked us to wait. `only_recipient`: the channel works for others.
    """

    def __init__(
        self,
        message: str,
        *,
        permanent: bool = False,
        disable: bool = False,
        retry_after: float | None = None,
        only_recipient: bool = False,
    ) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.disable = disable
        self.retry_after = retry_after
        self.only_recipient = only_recipient


class ConfigError(ValueError):
    """A channel's settings are invalid. `field` names the setting; the text says how to fix it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class ChannelKind(Protocol):
    """What a module in this package provides. Callers treat `Config` as opaque: `parse` returns it, `send` takes it."""

    @property
    def KIND(self) -> str:  # noqa: N802
        """Its name in the database, in the API and of the module."""

    @property
    def LABEL(self) -> str:  # noqa: N802
        """Its name as shown to people."""

    @property
    def Config(self) -> type[msgspec.Struct]:  # noqa: N802
        """Its settings. Those a person enters have a title and a description, which the form shows."""

    @property
    def SENDS_ACKNOWLEDGEMENTS(self) -> bool:  # noqa: N802
        """Whether it is notified when someone acknowledges an incident."""

    def parse(self, data: Mapping[str, Any]) -> Any:
        """Validate stored or entered settings; unknown ones are ignored. Raises `ConfigError`."""

    def generate(self) -> dict[str, str]:
        """Settings generated when a channel is created, such as a signing secret: shown once, never entered."""

    def public(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The stored settings as everyone in the team may see them: without secrets."""

    def send(self, config: Any, message: Message) -> None:
        """Send a message. Raises `ChannelError`. Must take seconds at most: the caller holds a lease."""


@runtime_checkable
class Personal(Protocol):
    """A channel with several recipients: each gets a message of their own, which succeeds or fails on its own."""

    def recipients(self, data: Mapping[str, Any]) -> Sequence[str]:
        """To whom it sends, from the stored settings."""
