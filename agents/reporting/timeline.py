"""An agent's events as bars on lanes with a common time scale, and as a list. Pure: no Django, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from agents.reporting.series import Series

# Size of a lane in drawing units. Minimum sizes keep momentary events visible.
WIDTH: Final = 1000.0
MIN_BAR_WIDTH: Final = 4.0
HEIGHT: Final = 24.0
MIN_COLUMN_HEIGHT: Final = 4.0
# Share of its step that a column fills; the rest is the gap to the next column.
FILLED: Final = 0.85
TICKS: Final = 5

INCIDENTS, COMMANDS, DEPLOYS, ALERTS = "incidents", "commands", "deploys", "alerts"
RUNS, WAITS, OUTAGES = "runs", "waits", "outages"
LABELS: Final = {
    INCIDENTS: "Incidents",
    COMMANDS: "Restarts & stops",
    DEPLOYS: "Deploys",
    ALERTS: "Alerts from outside",
    RUNS: "Starts",
    WAITS: "Waits",
    OUTAGES: "Watchdog offline",
}
# Shown even when empty: "nothing happened" is an answer.
ALWAYS: Final = (INCIDENTS, COMMANDS, OUTAGES)


class Entry(NamedTuple):
    """One event: `ended` is None while it is ongoing, and equals `began` for a moment."""

    lane: str
    tone: str
    text: str
    began: datetime
    ended: datetime | None
    incident: int | None = None
    url: str = ""

    @property
    def is_moment(self) -> bool:
        return self.ended == self.began


class Bar(NamedTuple):
    """In drawing units; as high as its lane."""

    x: float
    width: float
    tone: str
    text: str


@dataclass(frozen=True, slots=True)
class Lane:
    """`shapes` are tones with their SVG paths."""

    key: str
    label: str
    bars: list[Bar]
    shapes: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Timeline:
    lanes: list[Lane]
    ticks: list[datetime]
    entries: list[Entry]


def build(series: Series, entries: Sequence[Entry]) -> Timeline:
    """The list is newest first; on the lanes critical bars are drawn last, on top."""
    within = [entry for entry in entries if _is_within(series, entry)]
    lanes = [_lane(key, series, [entry for entry in within if entry.lane == key]) for key in LABELS]
    shown = [lane for lane in lanes if lane.bars or lane.key in ALWAYS]
    interval = (series.until - series.since) / (TICKS - 1)
    ticks = [series.since + interval * number for number in range(TICKS)]
    return Timeline([_beats(series), *shown], ticks, sorted(within, key=lambda entry: entry.began, reverse=True))


def _is_within(series: Series, entry: Entry) -> bool:
    return entry.began <= series.until and (entry.ended is None or entry.ended >= series.since)


def _lane(key: str, series: Series, entries: Iterable[Entry]) -> Lane:
    critical_last = sorted(entries, key=lambda entry: entry.tone == "critical")
    bars = [_bar(series, entry.began, entry.ended or series.until, entry.tone, entry.text) for entry in critical_last]
    return Lane(key, LABELS[key], bars, [])


def _bar(series: Series, began: datetime, ended: datetime, tone: str, text: str) -> Bar:
    x, right = _position(series, began), _position(series, ended)
    width = max(MIN_BAR_WIDTH, right - x)
    return Bar(round(min(x, WIDTH - width), 1), round(width, 1), tone, text)


def _position(series: Series, at: datetime) -> float:
    share = (at - series.since) / (series.until - series.since)
    return WIDTH * min(1.0, max(0.0, share))


def _beats(series: Series) -> Lane:
    """Heartbeats per step as columns, with errors as lower columns in front of them."""
    shapes = (("beats", [step.beats for step in series.steps]), ("critical", [step.errors for step in series.steps]))
    highest = max(shapes[0][1], default=0) or 1
    shown = [(tone, "".join(_columns(series, counts, highest))) for tone, counts in shapes if any(counts)]
    return Lane("beats", "Heartbeats", [], shown)


def _columns(series: Series, counts: Sequence[int], highest: int) -> Iterator[str]:
    """SVG path segments. The last step is incomplete, so its column is narrower."""
    length = timedelta(seconds=series.zoom.step)
    for step, count in zip(series.steps, counts, strict=True):
        if count:
            bar, height = (
                _bar(series, step.start, step.start + length, "", ""),
                max(MIN_COLUMN_HEIGHT, HEIGHT * count / highest),
            )
            yield f"M{bar.x:.1f} {HEIGHT:g}v-{height:.1f}h{bar.width * FILLED:.1f}v{height:.1f}z"
