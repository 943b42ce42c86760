"""What an agent's last heartbeats tell: what it does, what it said, what it called. Pure: no Django, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any, Final, NamedTuple

from agents.domain.redaction import redacted

CALLS_SHOWN: Final = 6
NAMES_SHOWN: Final = 12


class ReportedBeat(NamedTuple):
    """One heartbeat of the agent's own, not of its runner."""

    at: datetime
    status: str
    progress: bool
    content: Mapping[str, Any]


class Call(NamedTuple):
    """One tool call; `ms` is its duration, `ok` None where the client does not say."""

    at: datetime
    name: str
    args: str
    ms: float | None
    ok: bool | None

    @property
    def seconds(self) -> float | None:
        return None if self.ms is None else self.ms / 1000


@dataclass(frozen=True, slots=True)
class Doing:
    """`tool` is the call that went on at the last heartbeat, `since` by the client's clock."""

    tool: str
    since: datetime | None
    message: str
    message_at: datetime | None
    calls: list[Call]


class Calls(NamedTuple):
    """All calls of one tool; durations are seconds, None where none was told."""

    name: str
    times: int
    failed: int
    usual: float | None
    longest: float | None


def doing(told: Sequence[ReportedBeat]) -> Doing:
    """From heartbeats, newest first."""
    last = told[0].content.get("doing") or {} if told else {}
    # What it said when it crashed is no doing; the page tells that elsewhere.
    said = next((one for one in told if one.content.get("message") and not _is_crash(one)), None)
    message = redacted(str(said.content["message"])) if said else ""
    since = _moment(last.get("since"))
    calls = [call._replace(args=redacted(call.args)) for call in _calls(told)[:CALLS_SHOWN]]
    return Doing(last.get("tool", ""), since, message, said.at if said else None, calls)


def _is_crash(one: ReportedBeat) -> bool:
    return one.status == "error" and str(one.content["message"]).startswith("CRASH:")


def calls_by_name(told: Sequence[ReportedBeat]) -> list[Calls]:
    """The most called first."""
    named: dict[str, list[Call]] = {}
    for call in _calls(told):
        named.setdefault(call.name, []).append(call)
    return sorted((_sum(*one) for one in named.items()), key=lambda one: (-one.times, one.name))[:NAMES_SHOWN]


def _sum(name: str, calls: Sequence[Call]) -> Calls:
    took = [call.seconds for call in calls if call.seconds is not None]
    failed = sum(call.ok is False for call in calls)
    return Calls(name, len(calls), failed, median(took) if took else None, max(took, default=None))


def _calls(told: Iterable[ReportedBeat]) -> list[Call]:
    """Newest first."""
    return [
        Call(one.at, call["name"], call.get("args") or "", call.get("ms"), call.get("ok"))
        for one in told
        for call in reversed(one.content.get("calls") or ())
    ]


def _moment(text: str | None) -> datetime | None:
    try:
        at = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return at if at.tzinfo else None
