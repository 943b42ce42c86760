"""What an agent did lately, as a strip of sixty bars. Reads, never writes.

A bar is as long as the agent's interval and grace together, rounded up, so that a bar without a heartbeat is one in
which it was down: minutes for an agent that reports each second, hours for one that reports each hour. What is rolled
up comes from the roll-ups, the rest from the heartbeats since; nothing is kept, so a strip is never behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Final, NamedTuple

from django.db import connection

from agents.models import Pulse, Rollup
from teams import times

BARS: Final = 60
_MINUTE, _HOUR = 60, 3_600
# Minutes are kept for two days; from an hour on hours are read.
WIDTHS: Final = (60, 120, 300, 600, 900, 1_800, *(hours * _HOUR for hours in (1, 2, 3, 6, 12, 24, 48)))
PROGRESS, ALIVE, ERROR, SILENT, NOTHING = "progress", "alive", "error", "silent", ""
WORDS: Final = {PROGRESS: "with progress", ALIVE: "with heartbeats only", ERROR: "with an error", SILENT: "silent"}
LEGEND: Final = "Tall: progress. Half: heartbeats only. Broken: an error. Low: no heartbeat."
# Where each kind of bar is drawn, in the drawing's own units: the middle of its line.
_HEIGHTS: Final = {PROGRESS: (("progress", 8),), ALIVE: (("alive", 12),), SILENT: (("silent", 15),)}
_DRAWN: Final = {**_HEIGHTS, ERROR: (("error", 5), ("point", 14))}
STEP: Final = 3


class Wanted(NamedTuple):
    """An agent, for how many seconds its heartbeat may stay away, and since when it exists."""

    agent_id: int
    allowed: float
    since: datetime


@dataclass(frozen=True, slots=True)
class Strip:
    """Sixty bars, oldest first; `width` is the seconds of one. The newest is not over yet."""

    width: int
    bars: tuple[str, ...]

    @property
    def span(self) -> str:
        return f"last {times.duration(self.width * BARS)}, a bar for {times.duration(self.width)}"

    @property
    def said(self) -> str:
        """`Last 1 h, a bar for 1 min: 58 with progress, 2 silent`."""
        counts = [(self.bars.count(kind), word) for kind, word in WORDS.items()]
        told = ", ".join(f"{n} {word}" for n, word in counts if n) or "nothing yet"
        return f"{self.span[0].upper()}{self.span[1:]}: {told}"

    @property
    def hint(self) -> str:
        return f"{self.said}. {LEGEND}"

    @property
    def lines(self) -> list[tuple[str, str]]:
        """For the drawing: a class and a path each; bars of one kind in a row are one dashed line."""
        paths: dict[str, str] = {}
        for kind, first, count in _runs(self.bars):
            for name, middle in _DRAWN.get(kind, ()):
                paths[name] = f"{paths.get(name, '')}M{first * STEP} {middle}h{count * STEP - 1}"
        return list(paths.items())


def _runs(bars: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """Kind, place of the first, how many."""
    place = 0
    for kind, alike in groupby(bars):
        count = len(list(alike))
        yield kind, place, count
        place += count


def width_for(allowed: float) -> int:
    """Seconds of a bar for an agent whose heartbeat may stay away for so long."""
    return next((width for width in WIDTHS if width >= allowed), WIDTHS[-1])


def of(wanted: Iterable[Wanted], now: datetime) -> dict[int, Strip]:
    """By agent. Two queries, however many they are."""
    asked = {one.agent_id: (one, _window(one, now)) for one in wanted}
    seen = _seen([window for _, window in asked.values()], now) if asked else {}
    none = (0, 0, 0)
    return {pk: _strip(window, one.since, seen.get(pk, none)) for pk, (one, window) in asked.items()}


class _Window(NamedTuple):
    agent_id: int
    span: str
    width: int
    start: int


def _window(one: Wanted, now: datetime) -> _Window:
    """Bars begin at whole multiples of their length, so that they stay what they are while time goes on."""
    width = width_for(one.allowed)
    newest = int(now.timestamp()) // width * width
    span = Rollup.Span.MINUTE if width < _HOUR else Rollup.Span.HOUR
    return _Window(one.agent_id, span.value, width, newest - (BARS - 1) * width)


def _strip(window: _Window, since: datetime, bits: tuple[int, int, int]) -> Strip:
    begun = (int(since.timestamp()) - window.start) // window.width
    first = max(0, min(begun, _lowest(bits[0])))
    return Strip(window.width, tuple(_bar(place, first, *bits) for place in range(BARS)))


def _lowest(bits: int) -> int:
    """The place of the lowest bit that is set."""
    return (bits & -bits).bit_length() - 1 if bits else BARS


def _bar(place: int, first: int, beats: int, progress: int, errors: int) -> str:
    mask = 1 << place
    if errors & mask:
        return ERROR
    if beats & mask:
        return PROGRESS if progress & mask else ALIVE
    return SILENT if first <= place < BARS - 1 else NOTHING


def _seen(windows: Sequence[_Window], now: datetime) -> dict[int, tuple[int, int, int]]:
    """By agent, as bits, one a bar: had heartbeats, progress, errors."""
    pulse = Pulse.objects.filter(name="rollup").first()
    # What is rolled up is so up to the minute in which that was done.
    fresh = (pulse.at if pulse else now - timedelta(hours=1)).astimezone(UTC).replace(second=0, microsecond=0)
    rows = ", ".join(["(%s, %s, %s, %s, %s)"] * len(windows))
    values = [value for one in windows for value in (*one, _stored(datetime.fromtimestamp(one.start, UTC)))]
    with connection.cursor() as cursor:
        read_to, day = pulse.read_to if pulse else 0, connection.ops.adapt_datefield_value(fresh.date())
        cursor.execute(_sql(rows), [*values, read_to, day, _stored(fresh)])
        return {pk: (int(beats), int(progress or 0), int(errors or 0)) for pk, beats, progress, errors in cursor}


def _stored(at: datetime) -> Any:
    return connection.ops.adapt_datetimefield_value(at)


def _sql(rows: str) -> str:
    """Bits are told apart before they are added, so that the sum is their union, on both databases."""
    postgresql = connection.vendor == "postgresql"
    epoch = "CAST(EXTRACT(EPOCH FROM {}) AS bigint)" if postgresql else "CAST(strftime('%%s', {}) AS integer)"
    bit = "SUM(DISTINCT CASE WHEN {} THEN CAST(1 AS bigint) << CAST(place AS integer) END)"
    return f"""
        WITH wanted (agent_id, span, width, start, start_at) AS (VALUES {rows}), seen AS (
            SELECT w.agent_id, ({epoch.format("r.start")} - w.start) / w.width AS place,
                   r.progress > 0 AS progress, r.errors > 0 AS error
            FROM wanted w JOIN agents_rollup r
                ON r.agent_id = w.agent_id AND r.span = w.span AND r.start >= w.start_at
            UNION ALL
            SELECT w.agent_id, ({epoch.format("b.spent_at")} - w.start) / w.width, b.progress, b.status = 'error'
            FROM wanted w JOIN agents_heartbeat b
                ON b.agent_id = w.agent_id AND b.id > %s AND b.day >= %s AND b.received_at >= %s
                    AND b.spent_at >= w.start_at
        )
        SELECT agent_id, {bit.format("TRUE")}, {bit.format("progress")}, {bit.format("error")}
        FROM seen WHERE place BETWEEN 0 AND {BARS - 1} GROUP BY agent_id
    """  # noqa: S608 - placeholders and names of its own; values are parameters
