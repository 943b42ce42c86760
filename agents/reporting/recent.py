"""An agent's latest heartbeats: current activity, last message and tool calls. Pure: no Django, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any, Final, NamedTuple

from agents.domain.durations import spoken
from agents.domain.redaction import redacted
from agents.domain.wire import sender_clock

CALLS_SHOWN: Final = 6
NAMES_SHOWN: Final = 12


class ReportedBeat(NamedTuple):
    """One heartbeat from the agent itself, not from its runner."""

    at: datetime
    status: str
    progress: bool
    content: Mapping[str, Any]


class Call(NamedTuple):
    """One tool call. `ms` is its duration; `ok` is None if the client does not report it."""

    at: datetime
    name: str
    args: str
    ms: float | None
    ok: bool | None

    @property
    def seconds(self) -> float | None:
        return None if self.ms is None else self.ms / 1000


@dataclass(frozen=True, slots=True)
class Activity:
    """`tool` is the call in progress at the last heartbeat, `since` by the client's clock."""

    tool: str
    since: datetime | None
    message: str
    message_at: datetime | None
    calls: list[Call]
    # What could not be kept of these heartbeats, field -> why, and when that last happened.
    left_out: Mapping[str, str]
    left_out_at: datetime | None
    # Seconds that the client's clock is ahead of ours, negative if behind.
    skew: float

    @property
    def skew_text(self) -> str:
        return f"{spoken(abs(self.skew))} {'ahead' if self.skew > 0 else 'behind'}"


class ToolStats(NamedTuple):
    """All calls of one tool. Durations are seconds, None if none was reported."""

    name: str
    times: int
    failed: int
    usual: float | None
    longest: float | None


def activity(beats: Sequence[ReportedBeat]) -> Activity:
    """From heartbeats, newest first."""
    current = beats[0].content.get("doing") or {} if beats else {}
    # A crash message is no activity; the incident shows it.
    latest = next((beat for beat in beats if beat.content.get("message") and not _is_crash(beat)), None)
    message = redacted(str(latest.content["message"])) if latest else ""
    since = _parse_time(current.get("since"))
    calls = [call._replace(args=redacted(call.args)) for call in _calls(beats)[:CALLS_SHOWN]]
    return Activity(
        tool=current.get("tool", ""),
        since=since,
        message=message,
        message_at=latest.at if latest else None,
        calls=calls,
        left_out={name: why for beat in reversed(beats) for name, why in _left_out(beat).items()},
        left_out_at=next((beat.at for beat in beats if _left_out(beat)), None),
        skew=_skew(beats[0]) if beats else 0.0,
    )


def _left_out(beat: ReportedBeat) -> Mapping[str, str]:
    return beat.content.get("left_out") or {}


def _skew(beat: ReportedBeat) -> float:
    sent_at, age = _parse_time(beat.content.get("sent_at")), beat.content.get("age")
    return sender_clock.skew(sent_at, age, beat.at).total_seconds()


def _is_crash(beat: ReportedBeat) -> bool:
    return beat.status == "error" and str(beat.content["message"]).startswith("CRASH:")


def tool_stats(beats: Sequence[ReportedBeat]) -> list[ToolStats]:
    """Most called first."""
    by_name: dict[str, list[Call]] = {}
    for call in _calls(beats):
        by_name.setdefault(call.name, []).append(call)
    stats = [_stats_of(name, calls) for name, calls in by_name.items()]
    return sorted(stats, key=lambda tool: (-tool.times, tool.name))[:NAMES_SHOWN]


def _stats_of(name: str, calls: Sequence[Call]) -> ToolStats:
    durations = [call.seconds for call in calls if call.seconds is not None]
    failed = sum(call.ok is False for call in calls)
    return ToolStats(name, len(calls), failed, median(durations) if durations else None, max(durations, default=None))


def _calls(beats: Iterable[ReportedBeat]) -> list[Call]:
    """Newest first."""
    return [
        Call(beat.at, call["name"], call.get("args") or "", call.get("ms"), call.get("ok"))
        for beat in beats
        for call in reversed(beat.content.get("calls") or ())
    ]


def _parse_time(text: str | None) -> datetime | None:
    try:
        at = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return at if at.tzinfo else None
