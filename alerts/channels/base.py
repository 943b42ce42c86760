"""What every kind of channel is: a module with KIND, a Config and `send`. Kinds see a Message, never our models."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Message:
    """What is told, ready to be put into any channel's words.

    `id` is the same on every attempt. `type` is the webhook's (`incident.opened` …, `channel.test`), `payload` its
    `data`. `severity` is `warning`, `critical` or `ok`. `lines` are short facts, most important first.
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
