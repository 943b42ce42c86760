"""When an agent's process started and when it declared a wait, for its timeline. Not a rule itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from agents.domain.notes import STARTED
from agents.rules.facts import BeatSeen

KIND: Final = "course"
# How many starts and how many waits are kept.
KEPT: Final = 40
MAX_LENGTH: Final = 60
# The hot row's last start and a stored one are the same within this.
SAME_START: Final = timedelta(seconds=5)


class Wait(NamedTuple):
    """`ended` is None while it lasts."""

    what: str
    began: datetime
    ended: datetime | None


class StoredWait(NamedTuple):
    """A wait as it is stored: whole seconds since 1970, `ended` is None while it lasts."""

    what: str
    began: int
    ended: int | None


def read(state: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Keep `starts` (whole seconds since 1970) and `waits` (see `StoredWait`), oldest first."""
    starts = list(state.get("starts", ()))
    waits = [StoredWait(*stored) for stored in state.get("waits", ())]
    for beat in beats:
        if beat.note == STARTED:
            starts.append(int(beat.received_at.timestamp()))
        _read_wait(waits, beat)
    updated = {"starts": starts[-KEPT:], "waits": [list(wait) for wait in waits[-KEPT:]]}
    return {name: kept for name, kept in updated.items() if kept}


def _read_wait(waits: list[StoredWait], beat: BeatSeen) -> None:
    """Declaring the same wait again extends it; it ends with another wait, progress, or the agent's word."""
    what, at = beat.waiting[:MAX_LENGTH], int(beat.received_at.timestamp())
    current = waits[-1] if waits and waits[-1].ended is None else None
    ends = bool(what) or beat.progress or beat.wait_over or beat.status == "shutdown"
    if current is not None and ends and what != current.what:
        waits[-1] = current._replace(ended=at)
        current = None
    if what and current is None:
        waits.append(StoredWait(what, at, None))


def starts(state: Mapping[str, Any], last: datetime | None) -> list[datetime]:
    """Process starts, oldest first; `last` is the start that the hot row holds."""
    known = [datetime.fromtimestamp(at, UTC) for at in state.get("starts", ())]
    if last and all(abs(last - at) > SAME_START for at in known):
        known.append(last)
    return known


def waits(state: Mapping[str, Any], until: datetime | None, now: datetime) -> list[Wait]:
    """Declared waits, oldest first; `until` is when the last one expires or expired."""
    found = [_wait(StoredWait(*stored)) for stored in state.get("waits", ())]
    if found and found[-1].ended is None and until and until <= now:
        found[-1] = found[-1]._replace(ended=max(found[-1].began, until))
    return found


def _wait(stored: StoredWait) -> Wait:
    ended = None if stored.ended is None else datetime.fromtimestamp(stored.ended, UTC)
    return Wait(stored.what, datetime.fromtimestamp(stored.began, UTC), ended)
