"""From entries to heartbeats: one per agent and session, in the order of what happened. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

from agents.domain.heartbeat import (
    MAX_CALLS,
    MAX_MESSAGE_LENGTH,
    MAX_NAME_LENGTH,
    MAX_USAGE,
    Beat,
    Doing,
    Waiting,
)
from agents.domain.redaction import redacted
from agents.doors.facts import Origin
from agents.doors.identity import host_of, instance_of
from agents.doors.merging import Entry

# Seconds. Telemetry comes when something happened: silence between runs says nothing, so nobody is down because of it
# until a day has passed. Set an interval for the agent to be told sooner.
INTERVAL: Final = 86_400.0
NEXT_WORK: Final = "the next work"
SDK: Final = "opentelemetry"
HOOK: Final = "hook"


def beats_of(entries: Sequence[Entry]) -> list[tuple[Beat, int]]:
    """The heartbeats, each with the number of entries in it."""
    groups: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[entry.agent, instance_of(entry.origin)].append(entry)
    return [(_beat(part), len(part)) for group in groups.values() for part in _parts(group)]


def _parts(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """As many entries as one heartbeat holds."""
    part: list[Entry] = []
    tools = uses = 0
    for entry in entries:
        if tools == MAX_CALLS or uses == MAX_USAGE:
            yield part
            part, tools, uses = [], 0, 0
        part.append(entry)
        tools += entry.tool is not None
        uses += entry.usage is not None
    yield part


def _beat(entries: Sequence[Entry]) -> Beat:
    last = entries[-1]
    tools = [entry.tool for entry in entries if entry.tool]
    return Beat(
        agent=last.agent,
        status=_status(last),
        message=_message(entries),
        usage=[entry.usage for entry in entries if entry.usage] or None,
        tool_call_log=tools or None,
        tool_calls=len(tools) or None,
        progress=True,
        interval=INTERVAL,
        instance=instance_of(last.origin) or None,
        sdk=HOOK if last.origin.is_hook else SDK,
        agent_type=last.origin.kind,
        labels=_labels(last.origin),
        waiting=_waiting(last),
        doing=_doing(last),
    )


def _status(entry: Entry) -> Literal["ok", "error", "shutdown"]:
    """Error only for a run that ended with one. A single failed call is progress: the agent may try again."""
    step = entry.step
    if step is None or step.is_open:
        return "ok"
    if step.kind == "end":
        return "shutdown"
    return "error" if step.kind == "run" and step.failed else "ok"


def _waiting(entry: Entry) -> Waiting | msgspec.UnsetType:
    """Between two runs nothing is due: an agent that has answered is not stuck."""
    if entry.step and entry.step.waits_for:
        return Waiting(entry.step.waits_for)
    return msgspec.UNSET if entry.is_open or _status(entry) != "ok" else Waiting(NEXT_WORK)


def _doing(entry: Entry) -> Doing | None:
    if entry.step is None or not entry.step.tool:
        return None
    return Doing(entry.step.tool[:MAX_NAME_LENGTH], datetime.fromtimestamp(entry.at / 1_000_000, UTC))


def _message(entries: Iterable[Entry]) -> str | None:
    """The last error, which people see on the timeline."""
    told = [entry.step.message for entry in entries if entry.step and entry.step.message]
    return redacted(told[-1].replace("\x00", "")[:MAX_MESSAGE_LENGTH]) if told else None


def _labels(origin: Origin) -> dict[str, str] | None:
    host = host_of(origin.resource).replace("\x00", "")
    return {"host": host[:MAX_NAME_LENGTH]} if host else None
