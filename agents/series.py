"""Sums of an agent's heartbeats over equal times, for charts. Pure: no Django, no clock.

Money is whole micro-dollars, times are aware; a step begins at a whole multiple of its length (UTC).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final, NamedTuple

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
    """Sums of one step. `memory_mb` and `gap`, the most of each, are None where no heartbeat was read for them."""

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


class Heard(NamedTuple):
    """When one heartbeat came in, and the memory that it told."""

    at: datetime
    memory_mb: float | None


class Row(NamedTuple):
    """One roll-up: its start and the numbers of `SUMS`, in order."""

    start: datetime
    sums: Sequence[int]


@dataclass(frozen=True, slots=True)
class Series:
    """Steps without holes from `since` to `until`; `heard_from` is when the first heartbeat read for gaps came."""

    zoom: Zoom
    since: datetime
    until: datetime
    steps: list[Step]
    heard_from: datetime | None = None

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
    memory = max((step.memory_mb for step in steps if step.memory_mb is not None), default=None)
    gap = max((step.gap for step in steps if step.gap is not None), default=None)
    return Step._make((start, *sums, memory, gap))


def begin(at: datetime, step: int) -> int:
    """Of the step that a time lies in, in seconds since 1970."""
    return int(at.timestamp() // step * step)


def summed(zoom: Zoom, now: datetime, rows: Iterable[Row], heard: Sequence[Heard] = ()) -> Series:
    """Roll-ups and heartbeats (oldest first) in steps up to `now`."""
    sums: dict[int, list[int]] = {}
    for row in rows:
        known = sums.setdefault(begin(row.start, zoom.step), [0] * len(SUMS))
        for place, number in enumerate(row.sums):
            known[place] += number
    memory, gaps = _memory(heard, zoom.step), _gaps(heard, zoom.step)
    first, nothing = begin(now - zoom.length, zoom.step), [0] * len(SUMS)
    steps = [
        Step._make((datetime.fromtimestamp(at, UTC), *sums.get(at, nothing), memory.get(at), gaps.get(at)))
        for at in range(first, int(now.timestamp()) + 1, zoom.step)
    ]
    return Series(zoom, steps[0].start, now, steps, heard[0].at if heard else None)


def _memory(heard: Sequence[Heard], step: int) -> dict[int, float]:
    found: dict[int, float] = {}
    for beat in heard:
        if beat.memory_mb is not None:
            start = begin(beat.at, step)
            found[start] = max(beat.memory_mb, found.get(start, 0.0))
    return found


def _gaps(heard: Sequence[Heard], step: int) -> dict[int, float]:
    """The longest that ended in each step."""
    found: dict[int, float] = {}
    for before, beat in pairwise(heard):
        start = begin(beat.at, step)
        found[start] = max((beat.at - before.at).total_seconds(), found.get(start, 0.0))
    return found
