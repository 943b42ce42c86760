"""An agent's heartbeats summed over equal steps, for charts. Pure: no Django, no clock.

Money is micro-dollars, times are aware; a step starts at a multiple of its length (UTC).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from agents.domain import tool_counts

SUMS: Final = ("beats", "errors", "progress", "tokens", "cost", "priced", "unpriced", "tool_calls")


class Zoom(NamedTuple):
    """A time range: its length, the step of its charts in seconds, and the roll-ups it reads.

    `row` is the step of the table in seconds, coarser to keep the table readable.
    """

    key: str
    label: str
    days: float
    rollup: str
    step: int
    row: int

    @property
    def title(self) -> str:
        return f"Last {self.label.removeprefix('1 ')}"

    @property
    def length(self) -> timedelta:
        return timedelta(days=self.days)


ZOOMS: Final = (
    Zoom("1h", "1 hour", 1 / 24, "m", 60, 300),
    Zoom("6h", "6 hours", 6 / 24, "m", 300, 1_800),
    Zoom("24h", "24 hours", 1, "m", 900, 3_600),
    Zoom("7d", "7 days", 7, "h", 3_600, 21_600),
    Zoom("30d", "30 days", 30, "h", 21_600, 86_400),
    Zoom("90d", "90 days", 90, "d", 86_400, 259_200),
)
DEFAULT: Final = ZOOMS[2]


def zoom_for(key: str | None, kept_days: int) -> Zoom:
    """The requested range, limited to the history that the plan keeps."""
    wanted = next((zoom for zoom in ZOOMS if zoom.key == key), DEFAULT)
    return wanted if wanted.days <= kept_days else [zoom for zoom in ZOOMS if zoom.days <= kept_days][-1]


class Step(NamedTuple):
    """Sums of one step. `memory_mb` and `gap` (seconds) are maxima, None if no roll-up has them."""

    start: datetime
    beats: int = 0
    errors: int = 0
    progress: int = 0
    tokens: int = 0
    cost: int = 0
    priced: int = 0
    unpriced: int = 0
    tool_calls: int = 0
    memory_mb: float | None = None
    gap: float | None = None

    @property
    def reported(self) -> int:
        """Cost from the client that the server could not price itself."""
        return self.cost - self.priced


class Row(NamedTuple):
    """One roll-up: its start, the numbers of `SUMS` in order, maximum memory and gap, and calls per tool.

    `tools` is None in roll-ups from before tool names, memory and gaps were stored.
    """

    start: datetime
    sums: Sequence[int]
    memory_mb: float | None = None
    gap: float | None = None
    tools: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """Consecutive steps from `since` to `until`, and the calls per tool over the whole range.

    Memory, gaps and tools are known from `known_from` on; None if they are known throughout.
    """

    zoom: Zoom
    since: datetime
    until: datetime
    steps: list[Step]
    tools: Mapping[str, int]
    known_from: datetime | None = None

    @property
    def total(self) -> Step:
        return _total(self.since, self.steps)

    @property
    def rows(self) -> list[Step]:
        """Table rows, newest first, without empty ones."""
        by_row: dict[int, list[Step]] = {}
        for step in self.steps:
            by_row.setdefault(begin(step.start, self.zoom.row), []).append(step)
        rows = [_total(steps[0].start, steps) for steps in by_row.values()]
        return [row for row in reversed(rows) if row.beats]


def _total(start: datetime, steps: Sequence[Step]) -> Step:
    sums = [sum(getattr(step, name) for step in steps) for name in SUMS]
    return Step._make((start, *sums, _max(step.memory_mb for step in steps), _max(step.gap for step in steps)))


def _max(numbers: Iterable[float | None]) -> float | None:
    return max((number for number in numbers if number is not None), default=None)


def build(zoom: Zoom, now: datetime, rows: Iterable[Row]) -> Series:
    """Roll-ups summed into steps up to `now`."""
    first = begin(now - zoom.length, zoom.step)
    by_step: dict[int, list[Row]] = {}
    for row in rows:
        by_step.setdefault(begin(row.start, zoom.step), []).append(row)
    steps = [_step(at, by_step.get(at, ())) for at in range(first, int(now.timestamp()) + 1, zoom.step)]
    within = [row for at, group in by_step.items() if at >= first for row in group]
    counts = tool_counts.added(row.tools for row in within if row.tools)
    return Series(zoom, steps[0].start, now, steps, counts, _known_from(within, now))


def _step(at: int, rows: Sequence[Row]) -> Step:
    start = datetime.fromtimestamp(at, UTC)
    if not rows:
        return Step(start)
    sums = map(sum, zip(*(row.sums for row in rows), strict=True))
    return Step._make((start, *sums, _max(row.memory_mb for row in rows), _max(row.gap for row in rows)))


def _known_from(rows: Sequence[Row], now: datetime) -> datetime | None:
    """The start of the first roll-up after the last one without tool names."""
    unknown = max((row.start for row in rows if row.tools is None), default=None)
    if unknown is None:
        return None
    return min((row.start for row in rows if row.start > unknown), default=now)


def begin(at: datetime, step: int) -> int:
    """Start of the step that contains a time, in seconds since 1970."""
    return int(at.timestamp() // step * step)
