"""What an agent's last heartbeats tell: what it does, what it said, what it called. Pure: no Django, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any, Final, NamedTuple

from agents import timeline
from agents.fold import STARTED
from agents.redact import redacted

CALLS_SHOWN: Final = 6
NAMES_SHOWN: Final = 12
SAME_START: Final = timedelta(seconds=5)


class Told(NamedTuple):
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


def doing(told: Sequence[Told]) -> Doing:
    """From heartbeats, newest first."""
    last = told[0].content.get("doing") or {} if told else {}
    # What it said when it crashed is no doing; the page tells that elsewhere.
    said = next((one for one in told if one.content.get("message") and not _is_crash(one)), None)
    message = redacted(str(said.content["message"])) if said else ""
    since = _moment(last.get("since"))
    calls = [call._replace(args=redacted(call.args)) for call in _calls(told)[:CALLS_SHOWN]]
    return Doing(last.get("tool", ""), since, message, said.at if said else None, calls)


def _is_crash(one: Told) -> bool:
    return one.status == "error" and str(one.content["message"]).startswith("CRASH:")


def calls_by_name(told: Sequence[Told]) -> list[Calls]:
    """The most called first."""
    named: dict[str, list[Call]] = {}
    for call in _calls(told):
        named.setdefault(call.name, []).append(call)
    return sorted((_sum(*one) for one in named.items()), key=lambda one: (-one.times, one.name))[:NAMES_SHOWN]


def _sum(name: str, calls: Sequence[Call]) -> Calls:
    took = [call.seconds for call in calls if call.seconds is not None]
    failed = sum(call.ok is False for call in calls)
    return Calls(name, len(calls), failed, median(took) if took else None, max(took, default=None))


def _calls(told: Iterable[Told]) -> list[Call]:
    """Newest first."""
    return [
        Call(one.at, call["name"], call.get("args") or "", call.get("ms"), call.get("ok"))
        for one in told
        for call in reversed(one.content.get("calls") or ())
    ]


def entries(
    told: Sequence[Told], run_at: datetime | None, waits_until: datetime | None, now: datetime
) -> list[timeline.Entry]:
    """Starts of the agent's process, and the times in which it said that it waits; heartbeats newest first.

    `run_at` is when it was last started, `waits_until` when its last wait ends or ended.
    """
    starts = [one.at for one in told if one.content.get("note") == STARTED]
    if run_at and all(abs(run_at - at) > SAME_START for at in starts):
        starts.append(run_at)
    ended = waits_until if waits_until and waits_until <= now else None
    return [*map(_start, starts), *_waits(list(reversed(told)), ended)]


def _start(at: datetime) -> timeline.Entry:
    return timeline.Entry(timeline.RUNS, "calm", "The agent was started.", at, at)


def _waits(told: Sequence[Told], last_ended: datetime | None) -> list[timeline.Entry]:
    found: list[timeline.Entry] = []
    what, began = "", None
    for one in told:
        waiting = one.content.get("waiting") or {}
        over = waiting or one.progress or one.content.get("wait_over") or one.status == "shutdown"
        if began is not None and over and waiting.get("for") != what:
            found.append(_wait(what, began, one.at))
            began = None
        if waiting and began is None:
            what, began = waiting["for"], one.at
    return found if began is None else [*found, _wait(what, began, last_ended and max(began, last_ended))]


def _wait(what: str, began: datetime, ended: datetime | None) -> timeline.Entry:
    return timeline.Entry(
        timeline.WAITS, "waits", f"Waited for {what}." if ended else f"Waits for {what}.", began, ended
    )


def _moment(text: str | None) -> datetime | None:
    try:
        at = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return at if at.tzinfo else None
