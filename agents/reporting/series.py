"""Sums of an agent's heartbeats over equal times, for charts. Pure: no Django, no clock.

Money is whole micro-dollars, times are aware; a step begins at a whole multiple of its length (UTC).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from agents.domain import tool_counts

SUMS: Final = ("beats", "errors", "progress", "tokens", "cost", "priced", "unpriced", "tool_calls")


class Zoom(NamedTuple):
    """How far back a page looks, in steps of how many seconds, made of roll-ups of which span.

    A row of its table is `row` seconds, so that it can be read.
    """

    key: str
    label: str
    days: float
    rollup: str
    step: int
    row: int

    @property
    def title(self) -> str:
        return f"The last {self.label.removeprefix('1 ')}"

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


def chosen(key: str | None, kept_days: int) -> Zoom:
    """What was asked for, as far as the plan's history goes back."""
    wanted = next((zoom for zoom in ZOOMS if zoom.key == key), DEFAULT)
    return wanted if wanted.days <= kept_days else [zoom for zoom in ZOOMS if zoom.days <= kept_days][-1]


class Step(NamedTuple):
    """Sums of one step. `memory_mb` and `gap`, in seconds, are the most of each; None where no roll-up knows them."""

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
        """What was claimed and the server could not price."""
        return self.cost - self.priced


class Row(NamedTuple):
    """One roll-up: its start, the numbers of `SUMS`, in order, the most of memory and gap, and calls by tool.

    `tools` is None in those that were made before names, memory and gaps were kept.
    """

    start: datetime
    sums: Sequence[int]
    memory_mb: float | None = None
    gap: float | None = None
    tools: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """Steps without holes from `since` to `until`, and the calls by tool in all of it.

    Memory, gaps and tools are known from `known_from` on; None where that is all of the time.
    """

    zoom: Zoom
    since: datetime
    until: datetime
    steps: list[Step]
    tools: Mapping[str, int]
    known_from: datetime | None = None

    @property
    def total(self) -> Step:
        return _together(self.since, self.steps)

    @property
    def rows(self) -> list[Step]:
        """Newest first, without those in which nothing came."""
        found: dict[int, list[Step]] = {}
        for step in self.steps:
            found.setdefault(begin(step.start, self.zoom.row), []).append(step)
        rows = [_together(steps[0].start, steps) for steps in found.values()]
        return [row for row in reversed(rows) if row.beats]


def _together(start: datetime, steps: Sequence[Step]) -> Step:
    sums = [sum(getattr(step, name) for step in steps) for name in SUMS]
    return Step._make((start, *sums, _most(step.memory_mb for step in steps), _most(step.gap for step in steps)))


def _most(numbers: Iterable[float | None]) -> float | None:
    return max((number for number in numbers if number is not None), default=None)


def summed(zoom: Zoom, now: datetime, rows: Iterable[Row]) -> Series:
    """Roll-ups in steps up to `now`."""
    first = begin(now - zoom.length, zoom.step)
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(begin(row.start, zoom.step), []).append(row)
    steps = [_step(at, found.get(at, ())) for at in range(first, int(now.timestamp()) + 1, zoom.step)]
    within = [row for at, some in found.items() if at >= first for row in some]
    counts = tool_counts.added(row.tools for row in within if row.tools)
    return Series(zoom, steps[0].start, now, steps, counts, _known_from(within, now))


def _step(at: int, rows: Sequence[Row]) -> Step:
    start = datetime.fromtimestamp(at, UTC)
    if not rows:
        return Step(start)
    sums = map(sum, zip(*(row.sums for row in rows), strict=True))
    return Step._make((start, *sums, _most(row.memory_mb for row in rows), _most(row.gap for row in rows)))


def _known_from(rows: Sequence[Row], now: datetime) -> datetime | None:
    """The start of the first roll-up after the last that knows nothing of it."""
    unknown = max((row.start for row in rows if row.tools is None), default=None)
    if unknown is None:
        return None
    return min((row.start for row in rows if row.start > unknown), default=now)


def begin(at: datetime, step: int) -> int:
    """Of the step that a time lies in, in seconds since 1970."""
    return int(at.timestamp() // step * step)
