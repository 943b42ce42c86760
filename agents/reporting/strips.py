"""An agent's recent activity as a strip of sixty bars. Reads, never writes.

A bar covers at least the agent's interval plus grace, so an empty bar means that the agent was down: minutes for an
agent that reports every second, hours for one that reports every hour. Older bars come from roll-ups, the rest from
the heartbeats since; nothing is cached, so a strip is always up to date.
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
# Minute roll-ups are kept for two days, so bars of an hour or more read hourly roll-ups.
WIDTHS: Final = (60, 120, 300, 600, 900, 1_800, *(hours * _HOUR for hours in (1, 2, 3, 6, 12, 24, 48)))
PROGRESS, ALIVE, ERROR, SILENT, NOTHING = "progress", "alive", "error", "silent", ""
SUMMARY: Final = {
    PROGRESS: "with progress",
    ALIVE: "with heartbeats only",
    ERROR: "with an error",
    SILENT: "without heartbeat",
}
LEGEND: Final = "Tall: progress. Half height: heartbeats only. Broken: error. Low: no heartbeat."
# The vertical middle of each kind of bar, in drawing units.
_HEIGHTS: Final = {PROGRESS: (("progress", 8),), ALIVE: (("alive", 12),), SILENT: (("silent", 15),)}
_DRAWN: Final = {**_HEIGHTS, ERROR: (("error", 5), ("point", 14))}
STEP: Final = 3


class StripRequest(NamedTuple):
    """An agent, the seconds allowed between its heartbeats, and since when it exists."""

    agent_id: int
    allowed: float
    since: datetime


@dataclass(frozen=True, slots=True)
class Strip:
    """Sixty bars, oldest first; `width` is the seconds per bar. The newest bar is incomplete."""

    width: int
    bars: tuple[str, ...]

    @property
    def span(self) -> str:
        return f"Last {times.duration(self.width * BARS)}, {times.duration(self.width)} per bar"

    @property
    def summary(self) -> str:
        """`Last 1 h, 1 min per bar: 58 with progress, 2 without heartbeat`."""
        counts = [(self.bars.count(kind), label) for kind, label in SUMMARY.items()]
        text = ", ".join(f"{n} {label}" for n, label in counts if n) or "no data yet"
        return f"{self.span}: {text}"

    @property
    def tooltip(self) -> str:
        return f"{self.summary}. {LEGEND}"

    @property
    def lines(self) -> list[tuple[str, str]]:
        """CSS classes with SVG paths; consecutive bars of one kind are one dashed line."""
        paths: dict[str, str] = {}
        for kind, first, count in _runs(self.bars):
            for name, middle in _DRAWN.get(kind, ()):
                paths[name] = f"{paths.get(name, '')}M{first * STEP} {middle}h{count * STEP - 1}"
        return list(paths.items())


def _runs(bars: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """Kind, position of the first bar, count."""
    position = 0
    for kind, alike in groupby(bars):
        count = len(list(alike))
        yield kind, position, count
        position += count


def width_for(allowed: float) -> int:
    """Seconds per bar for an agent with this many seconds allowed between heartbeats."""
    return next((width for width in WIDTHS if width >= allowed), WIDTHS[-1])


def strips_for(requests: Iterable[StripRequest], now: datetime) -> dict[int, Strip]:
    """By agent id. Two queries for any number of agents."""
    windows = {request.agent_id: (request, _window(request, now)) for request in requests}
    bits = _bits([window for _, window in windows.values()], now) if windows else {}
    empty = (0, 0, 0)
    return {pk: _strip(window, request.since, bits.get(pk, empty)) for pk, (request, window) in windows.items()}


class _Window(NamedTuple):
    agent_id: int
    span: str
    width: int
    start: int


def _window(request: StripRequest, now: datetime) -> _Window:
    # Bars start at multiples of their length, so a bar does not change as time goes on.
    width = width_for(request.allowed)
    newest = int(now.timestamp()) // width * width
    span = Rollup.Span.MINUTE if width < _HOUR else Rollup.Span.HOUR
    return _Window(request.agent_id, span.value, width, newest - (BARS - 1) * width)


def _strip(window: _Window, since: datetime, bits: tuple[int, int, int]) -> Strip:
    created = (int(since.timestamp()) - window.start) // window.width
    first = max(0, min(created, _lowest_bit(bits[0])))
    return Strip(window.width, tuple(_bar(position, first, *bits) for position in range(BARS)))


def _lowest_bit(bits: int) -> int:
    return (bits & -bits).bit_length() - 1 if bits else BARS


def _bar(position: int, first: int, beats: int, progress: int, errors: int) -> str:
    mask = 1 << position
    if errors & mask:
        return ERROR
    if beats & mask:
        return PROGRESS if progress & mask else ALIVE
    return SILENT if first <= position < BARS - 1 else NOTHING


def _bits(windows: Sequence[_Window], now: datetime) -> dict[int, tuple[int, int, int]]:
    """By agent id, one bit per bar: heartbeats, progress, errors."""
    pulse = Pulse.objects.filter(name="rollup").first()
    # Roll-ups are complete up to the minute in which they last ran.
    fresh = (pulse.at if pulse else now - timedelta(hours=1)).astimezone(UTC).replace(second=0, microsecond=0)
    rows = ", ".join(["(%s, %s, %s, %s, %s)"] * len(windows))
    values = [value for window in windows for value in (*window, _stored(datetime.fromtimestamp(window.start, UTC)))]
    with connection.cursor() as cursor:
        read_to, day = pulse.read_to if pulse else 0, connection.ops.adapt_datefield_value(fresh.date())
        cursor.execute(_sql(rows), [*values, read_to, day, _stored(fresh)])
        return {pk: (int(beats), int(progress or 0), int(errors or 0)) for pk, beats, progress, errors in cursor}


def _stored(at: datetime) -> Any:
    return connection.ops.adapt_datetimefield_value(at)


def _sql(rows: str) -> str:
    """DISTINCT bits are summed, so the sum is their union on both databases."""
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
    """  # noqa: S608 - only constants are formatted in; values are parameters
