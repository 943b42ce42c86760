"""When two observations are of one call. Pure."""

from __future__ import annotations

from typing import Final

from agents.doors.notes import CallNote, Row, ToolNote

# Microseconds. An observer's log comes a moment after the call; a provider's id means the same call only near in time,
# because test servers and caches give the same id again.
SAME_CALL: Final = 1_000_000
SAME_TOOL: Final = 5_000_000


def is_same_id(row: Row, other: Row, slack: int) -> bool:
    """Observers of one call are a moment apart; two spans of one observer, one after the other, are two calls.

    Some servers number the calls of each answer from 0, so an id comes again soon.
    """
    mine, theirs = row.note, other.note
    if not isinstance(mine, CallNote | ToolNote) or not isinstance(theirs, CallNote | ToolNote):
        return False
    is_one_observer = bool(mine.span) and bool(theirs.span) and mine.scope == theirs.scope
    return row.overlaps(other, 0) if is_one_observer else row.overlaps(other, slack)
