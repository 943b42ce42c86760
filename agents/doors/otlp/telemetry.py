"""What an OTLP request holds, whatever its encoding and dialect. Pure.

Ids are lower-case hex, empty if there is none; times are whole microseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from agents.domain.heartbeat import hash_of
from agents.doors.otlp.control_flow import is_control_flow

Attributes = Mapping[str, Any]
NO_ATTRIBUTES: Final[Attributes] = {}
# Host and process differ between the signals of one sender, so they do not tell senders apart.
_SENDER: Final = ("service.namespace", "service.name", "service.instance.id", "agent.name")


class Resource(msgspec.Struct, eq=False):
    """What sent it: a process, as its attributes say. `sender` is a hash of what tells senders apart."""

    attributes: Attributes = NO_ATTRIBUTES
    sender: int = 0
    # Asked for each of its items, of which there may be thousands.
    _firsts: dict[tuple[str, ...], str] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sender = hash_of("\n".join(["sender", *map(self.text, _SENDER)]))

    def text(self, name: str) -> str:
        """An attribute as text; empty if it is missing or no text."""
        value = self.attributes.get(name)
        return value if isinstance(value, str) else ""

    def first(self, names: tuple[str, ...]) -> str:
        """The first of these attributes that is a text with something in it."""
        if names not in self._firsts:
            self._firsts[names] = next((text for text in map(self.text, names) if text), "")
        return self._firsts[names]


class Event(msgspec.Struct, frozen=True):
    name: str
    attributes: Attributes = NO_ATTRIBUTES


class Span(msgspec.Struct, eq=False, kw_only=True):
    """One finished operation. `failed`: its status is ERROR, unless somebody asked for it; `message` is its text."""

    resource: Resource
    scope: str
    trace: str
    id: str
    parent: str = ""
    name: str = ""
    start: int = 0
    end: int = 0
    failed: bool = False
    message: str = ""
    attributes: Attributes = NO_ATTRIBUTES
    events: tuple[Event, ...] = ()

    def __post_init__(self) -> None:
        self.failed = self.failed and not self.is_control_flow(self.message)

    def is_control_flow(self, message: str) -> bool:
        """Whether it ended with a cancellation or the like, if this is what is said of its end."""
        exceptions = [event.attributes for event in self.events if event.name == "exception"]
        return is_control_flow(self.attributes, exceptions, message)


class Log(msgspec.Struct, eq=False, kw_only=True):
    """One log record; `trace` and `span` name the operation that wrote it."""

    resource: Resource
    scope: str
    name: str
    at: int
    trace: str = ""
    span: str = ""
    body: str = ""
    attributes: Attributes = NO_ATTRIBUTES


class Point(msgspec.Struct, eq=False, kw_only=True):
    """One data point of a sum or a histogram (its sum). A cumulative one counts since `start`."""

    resource: Resource
    scope: str
    metric: str
    start: int
    at: int
    value: float
    cumulative: bool = True
    attributes: Attributes = NO_ATTRIBUTES


Item = Span | Log | Point


class Export(msgspec.Struct):
    """What could be read of a request, and how many of its items were malformed, with the first reason."""

    items: list[Item] = msgspec.field(default_factory=list)
    rejected: int = 0
    reason: str = ""

    def reject(self, reason: str) -> None:
        self.rejected += 1
        self.reason = self.reason or reason


def storable(text: str) -> str:
    """PostgreSQL cannot store U+0000 in text."""
    return text.replace("\x00", "") if "\x00" in text else text


class MalformedError(ValueError):
    """The request cannot be read at all. The message says why."""
