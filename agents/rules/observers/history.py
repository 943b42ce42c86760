"""When an agent's process was started, and when it waited, as it said. No rule: for its timeline, however far back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from agents.domain.notes import STARTED
from agents.rules.facts import BeatSeen

KIND: Final = "course"
# The last so many of each.
KEPT: Final = 40
LONGEST: Final = 60
# The hot row's last start and the one remembered are the same one within this.
SAME_START: Final = timedelta(seconds=5)


class Wait(NamedTuple):
    """`ended` is None while it lasts."""

    what: str
    began: datetime
    ended: datetime | None


def read(memory: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Keep `starts`, and `waits` as what, begin and end, oldest first; times are whole seconds since 1970."""
    starts, waits = list(memory.get("starts", ())), list(memory.get("waits", ()))
    for beat in beats:
        at = int(beat.received_at.timestamp())
        if beat.note == STARTED:
            starts.append(at)
        _wait(waits, beat, at)
    known = {"starts": starts[-KEPT:], "waits": waits[-KEPT:]}
    return {name: kept for name, kept in known.items() if kept}


def _wait(waits: list[list[Any]], beat: BeatSeen, at: int) -> None:
    """One that is said again goes on; it ends with another, with progress, or with the agent's word."""
    what = beat.waiting[:LONGEST]
    open_as = waits[-1][0] if waits and waits[-1][2] is None else None
    is_over = bool(what) or beat.progress or beat.wait_over or beat.status == "shutdown"
    if open_as is not None and is_over and what != open_as:
        waits[-1] = [*waits[-1][:2], at]
        open_as = None
    if what and open_as is None:
        waits.append([what, at, None])


def starts(memory: Mapping[str, Any], last: datetime | None) -> list[datetime]:
    """Oldest first; `last` is when the hot row says it was last started."""
    known = [datetime.fromtimestamp(at, UTC) for at in memory.get("starts", ())]
    if last and all(abs(last - at) > SAME_START for at in known):
        known.append(last)
    return known


def waits(memory: Mapping[str, Any], until: datetime | None, now: datetime) -> list[Wait]:
    """Oldest first; `until` is when the last one ends or ended by itself."""
    found = [Wait(what, datetime.fromtimestamp(at, UTC), _moment(end)) for what, at, end in memory.get("waits", ())]
    if found and found[-1].ended is None and until and until <= now:
        found[-1] = found[-1]._replace(ended=max(found[-1].began, until))
    return found


def _moment(at: int | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at, UTC)
