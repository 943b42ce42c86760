"""Moves healthy agents of which only the time is up: their heartbeats moved the deadline, and nothing else happened.

A heartbeat does not touch the index that the detector searches, so agents fall due that are not late at all. Those that
have nothing new to read need no rules, which would find what they found before; those that have are reviewed for that.
So only their clocks are read, many at once, and what is due afterwards is late. What is in doubt is left to the review.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from django.db import transaction

from agents.domain import clocks
from agents.review.outcome import MAX_WAIT
from agents.storage import calm_rows
from agents.storage.calm_rows import CalmRow

# Agents per transaction; heartbeats of one of them wait until all are moved, about 0.05 ms each.
CHUNK: Final = 200


Outages = Callable[[], Sequence[clocks.Span]]


def move(outages: Outages, now: datetime, *, until: float, let_others_write: Callable[[], None]) -> int:
    """Give agents that are due the time of their next review, until that monotonic time. Returns how many.

    `outages` is only called when there are any.
    """
    moved = left = 0
    while time.monotonic() < until:
        rows, times = _move_next(outages, now, skip=left)
        moved, left = moved + len(times), left + len(rows) - len(times)
        if len(rows) < CHUNK:
            break
        let_others_write()
    return moved


def _move_next(outages: Outages, now: datetime, *, skip: int) -> tuple[list[CalmRow], dict[int, datetime]]:
    with transaction.atomic():
        rows = calm_rows.lock_calm(now, reviewed_after=now - MAX_WAIT, most=CHUNK, skip=skip)
        times = {row.agent_id: at for row in rows if (at := next_review(row, outages(), now))}
        if times:
            calm_rows.move(times)
    return rows, times


def next_review(row: CalmRow, outages: Sequence[clocks.Span], now: datetime) -> datetime | None:
    """When the next deadline passes, or the rules are asked again in any case. None: a deadline has passed."""
    settings = clocks.Settings(
        interval=row.interval,
        grace=row.default_grace if row.grace is None else row.grace,
        progress_timeout=row.progress_timeout,
        resumed_at=row.resumed_at,
    )
    try:
        both = clocks.alive(settings, row, outages), clocks.progress(settings, row, outages)
    except (OverflowError, ValueError):  # a deadline beyond the calendar: the review sets such an agent aside
        return None
    at = min([row.reviewed_at + MAX_WAIT, *(clock.deadline for clock in both if clock)])
    return at if at > now else None
