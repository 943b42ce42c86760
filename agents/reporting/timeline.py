"""What happened to an agent, as bars on lanes of one scale and as a list. Pure: no Django, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from agents.reporting.series import Series

# A lane is so many units wide; what lasted for a moment only is still to be seen.
WIDTH: Final = 1000.0
NARROWEST: Final = 4.0
HEIGHT: Final = 24.0
LOWEST: Final = 4.0
# So much of its step a column takes; the rest keeps it from the next.
FILLED: Final = 0.85
TICKS: Final = 5

INCIDENTS, COMMANDS, DEPLOYS, RUNS, WAITS, OUTAGES = "incidents", "commands", "deploys", "runs", "waits", "outages"
LABELS: Final = {
    INCIDENTS: "Incidents",
    COMMANDS: "Restarts and stops",
    DEPLOYS: "Deploys",
    RUNS: "Starts",
    WAITS: "Waits",
    OUTAGES: "Watchdog away",
}
# These are shown even when nothing is on them: that is an answer, too.
ALWAYS: Final = (INCIDENTS, COMMANDS, OUTAGES)


class Entry(NamedTuple):
    """One thing that happened: `ended` is None while it lasts and `began` where it took no time."""

    lane: str
    tone: str
    text: str
    began: datetime
    ended: datetime | None
    incident: int | None = None

    @property
    def is_moment(self) -> bool:
        return self.ended == self.began


class Bar(NamedTuple):
    """In units of the drawing; as high as its lane."""

    x: float
    width: float
    tone: str
    said: str


@dataclass(frozen=True, slots=True)
class Lane:
    """`shapes` are paths with their tones."""

    key: str
    label: str
    bars: list[Bar]
    shapes: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Timeline:
    lanes: list[Lane]
    ticks: list[datetime]
    entries: list[Entry]


def drawn(series: Series, entries: Sequence[Entry]) -> Timeline:
    """Entries newest first; on the lanes the worst are drawn last, on top."""
    within = [one for one in entries if (one.ended is None or one.ended >= series.since) and one.began <= series.until]
    lanes = [_lane(key, series, [one for one in within if one.lane == key]) for key in LABELS]
    shown = [lane for lane in lanes if lane.bars or lane.key in ALWAYS]
    part = (series.until - series.since) / (TICKS - 1)
    ticks = [series.since + part * number for number in range(TICKS)]
    return Timeline([_beats(series), *shown], ticks, sorted(within, key=lambda one: one.began, reverse=True))


def _lane(key: str, series: Series, entries: Iterable[Entry]) -> Lane:
    worst_last = sorted(entries, key=lambda one: one.tone == "critical")
    bars = [_bar(series, one.began, one.ended or series.until, one.tone, one.text) for one in worst_last]
    return Lane(key, LABELS[key], bars, [])


def _bar(series: Series, began: datetime, ended: datetime, tone: str, said: str) -> Bar:
    x, right = _place(series, began), _place(series, ended)
    width = max(NARROWEST, right - x)
    return Bar(round(min(x, WIDTH - width), 1), round(width, 1), tone, said)


def _place(series: Series, at: datetime) -> float:
    share = (at - series.since) / (series.until - series.since)
    return WIDTH * min(1.0, max(0.0, share))


def _beats(series: Series) -> Lane:
    """How densely heartbeats came, and before them, lower, how many of them were errors: two shapes of many columns."""
    shapes = (("beats", [step.beats for step in series.steps]), ("critical", [step.errors for step in series.steps]))
    most = max(shapes[0][1], default=0) or 1
    shown = [(tone, "".join(_columns(series, counts, most))) for tone, counts in shapes if any(counts)]
    return Lane("beats", "Heartbeats", [], shown)


def _columns(series: Series, counts: Sequence[int], most: int) -> Iterator[str]:
    """As parts of a path of SVG. The last step is not over: its column is as narrow as what there is of it."""
    length = timedelta(seconds=series.zoom.step)
    for step, count in zip(series.steps, counts, strict=True):
        if count:
            bar, height = _bar(series, step.start, step.start + length, "", ""), max(LOWEST, HEIGHT * count / most)
            yield f"M{bar.x:.1f} {HEIGHT:g}v-{height:.1f}h{bar.width * FILLED:.1f}v{height:.1f}z"
