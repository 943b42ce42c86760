"""Stores what the doors remember, per project."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from django.db import connection

from agents.doors.merging import Wanted
from agents.doors.notes import LedgerNote, Note, PointNote, Recall, Row, SenderNote
from agents.models import DoorNote
from agents.storage import json_rows

# Senders retry within minutes; a collector in between may keep its queue for longer.
KEEP: Final = timedelta(days=2)
# Sums and series of a process that reports rarely.
KEEP_SUMS: Final = timedelta(days=8)
# Calls that overlap in time may begin much earlier; no call takes longer.
LONGEST_CALL: Final = 3_600_000_000
# Keys per query, well below the parameters that SQLite takes.
MANY: Final = 5_000
# Rows per statement when old notes are deleted: on SQLite a delete blocks all writers.
PIECE: Final = 2_000

_COLUMNS: Final = "key, sender, ref, started, ended, note"
_TYPES: Final = {
    "project_id": "bigint",
    "key": "bigint",
    "sender": "bigint",
    "ref": "bigint",
    "started": "bigint",
    "ended": "bigint",
    "note": "jsonb",
    "keep_until": "timestamptz",
}
_decode: Final = msgspec.json.Decoder(Note).decode


def lock_senders(project_id: int, senders: Iterable[int], now: datetime) -> None:
    """Let one request at a time tell what these senders did: two signals may tell the same call at once."""
    # In one order, so that two requests with the same senders never wait for each other.
    rows = [_stored(project_id, Row(sender, SenderNote(), sender), now) for sender in sorted(senders)]
    json_rows.upsert_rows("agents_doornote", ("project_id", "key"), _TYPES, rows, touched=("keep_until",))


def recall(project_id: int, want: Wanted) -> Recall:
    """The notes that a request needs."""
    found = Recall(_by_keys(project_id, want.keys))
    for refs in _pieces(want.refs):
        found.load(_select(project_id, f"ref IN ({_marks(refs)})", refs))
    for sender, (start, end) in want.times.items():
        near = "sender = %s AND ended BETWEEN %s AND %s AND started <= %s"
        found.load(_select(project_id, near, (sender, start, end + LONGEST_CALL, end)))
    found.load(_by_keys(project_id, found.missing()))
    return found


def _by_keys(project_id: int, keys: Iterable[int]) -> list[Row]:
    return [row for part in _pieces(keys) for row in _select(project_id, f"key IN ({_marks(part)})", part)]


def _pieces(values: Iterable[int]) -> Iterator[Sequence[int]]:
    every = list(values)
    return (every[first : first + MANY] for first in range(0, len(every), MANY))


def _marks(values: Sequence[int]) -> str:
    return ", ".join(["%s"] * len(values))


def _select(project_id: int, where: str, values: Sequence[int]) -> list[Row]:
    sql = f"SELECT {_COLUMNS} FROM agents_doornote WHERE project_id = %s AND {where}"  # noqa: S608 - no values in it
    with connection.cursor() as cursor:
        cursor.execute(sql, [project_id, *values])
        return [_row(columns) for columns in cursor.fetchall()]


def _row(columns: Sequence[Any]) -> Row:
    key, sender, ref, started, ended, note = columns
    return Row(
        key, _decode(note if isinstance(note, str) else msgspec.json.encode(note)), sender, ref or 0, started, ended
    )


def store(project_id: int, rows: Iterable[Row], now: datetime) -> None:
    """Write what a request has changed."""
    # Sorted, so that two requests that share a trace never wait for each other.
    changed = [_stored(project_id, row, now) for row in sorted(rows, key=lambda row: row.key)]
    if changed:
        json_rows.upsert_rows("agents_doornote", ("project_id", "key"), _TYPES, changed)


def _stored(project_id: int, row: Row, now: datetime) -> dict[str, Any]:
    keep = KEEP_SUMS if isinstance(row.note, LedgerNote | PointNote | SenderNote) else KEEP
    return {
        "project_id": project_id,
        "key": row.key,
        "sender": row.sender,
        "ref": row.ref or None,
        "started": row.start,
        "ended": row.end,
        "note": row.note,
        "keep_until": now + keep,
    }


def forget_old(now: datetime) -> None:
    """Delete notes that nobody needs any more."""
    while ids := list(DoorNote.objects.filter(keep_until__lt=now).values_list("pk", flat=True)[:PIECE]):
        DoorNote.objects.filter(pk__in=ids).delete()
