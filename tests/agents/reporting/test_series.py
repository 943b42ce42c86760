"""Chart steps, timeline lanes and recent tool calls."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from agents.domain import tool_counts
from agents.reporting import recent, series, timeline
from agents.reporting.series import Row
from agents.reporting.timeline import Entry

NOW = datetime(2026, 11, 24, 2, 7, 30, tzinfo=UTC)
HOUR, SIX, DAY, WEEK, MONTH, QUARTER = series.ZOOMS


def at(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def row(minutes: float, beats: int = 1, cost: int = 0) -> Row:
    return Row(at(minutes), (beats, 0, 0, 0, cost, 0, 0, 0))


@pytest.mark.parametrize("zoom", series.ZOOMS)
def test_steps_are_consecutive_and_reach_now(zoom: series.Zoom) -> None:
    found = series.build(zoom, NOW, [])
    starts = [step.start for step in found.steps]
    assert {(later - one).total_seconds() for one, later in pairwise(starts)} == {zoom.step}
    assert starts[0] <= NOW - zoom.length
    assert starts[-1] <= NOW < starts[-1] + timedelta(seconds=zoom.step)
    assert 60 <= len(starts) <= 170


def test_rollups_add_up_in_their_step() -> None:
    found = series.build(SIX, NOW, [row(1, 2), row(2, 3), row(4, 4), row(600, 9)])
    assert [step.beats for step in found.steps[-2:]] == [4, 5]
    assert found.total.beats == 9


def kept(minutes: float, memory_mb: float | None = None, gap: float | None = None, **tools: int) -> Row:
    """A roll-up that knows memory, gaps and names."""
    return row(minutes)._replace(memory_mb=memory_mb, gap=gap, tools=tools)


def test_memory_and_gaps_are_maxima() -> None:
    found = series.build(SIX, NOW, [kept(9, 50.0, 60.0), kept(8, 70.0), kept(1, 20.0, 9.5)])
    maxima = [(step.memory_mb, step.gap) for step in found.steps if step.beats]
    assert maxima == [(70.0, 60.0), (20.0, 9.5)]
    assert (found.total.memory_mb, found.total.gap) == (70.0, 60.0)


def test_unknown_values_are_not_zero() -> None:
    found = series.build(HOUR, NOW, [row(9), kept(2, 50.0, 60.0, search=2)])
    assert [(step.memory_mb, step.gap) for step in found.steps if step.beats] == [(None, None), (50.0, 60.0)]
    assert (found.known_from, found.tools) == (at(2), {"search": 2})


def test_known_from_is_none_if_all_is_known() -> None:
    assert series.build(HOUR, NOW, [kept(9), kept(2)]).known_from is None
    assert series.build(HOUR, NOW, [kept(9), row(2)]).known_from == NOW


def test_tools_are_those_of_the_range() -> None:
    found = series.build(HOUR, NOW, [kept(90, fetch=9), kept(9, search=2, ask=1), kept(2, search=3)])
    assert found.tools == {"search": 5, "ask": 1}


def test_table_rows_are_sums_newest_first() -> None:
    found = series.build(HOUR, NOW, [kept(9, 50.0, 60.0), kept(8, 70.0), row(1, 4)])
    assert [(one.beats, one.memory_mb, one.gap) for one in found.rows] == [(4, None, None), (2, 70.0, 60.0)]
    assert sum(one.beats for one in found.rows) == found.total.beats


@pytest.mark.parametrize("zoom", series.ZOOMS)
def test_table_has_few_rows(zoom: series.Zoom) -> None:
    assert zoom.row % zoom.step == 0
    assert zoom.length.total_seconds() / zoom.row <= 31


@pytest.mark.parametrize(
    ("asked", "kept", "shown"),
    [("90d", 90, "90d"), ("90d", 30, "30d"), ("30d", 7, "7d"), (None, 7, "24h"), ("soon", 7, "24h"), ("1h", 7, "1h")],
)
def test_range_is_limited_by_the_plan(asked: str | None, kept: int, shown: str) -> None:
    assert series.zoom_for(asked, kept).key == shown


def drawn(*entries: Entry) -> timeline.Timeline:
    return timeline.build(series.build(HOUR, NOW, [row(5, 10), row(3, 2)]), entries)


def bars(found: timeline.Timeline, key: str) -> list[timeline.Bar]:
    return next(lane.bars for lane in found.lanes if lane.key == key)


def test_ongoing_reaches_the_end_and_moments_show() -> None:
    lasting = Entry(timeline.INCIDENTS, "critical", "Stalled", at(30), None)
    moment = Entry(timeline.COMMANDS, "calm", "Restart", NOW, NOW)
    found = drawn(lasting, moment)
    [long], [short] = bars(found, timeline.INCIDENTS), bars(found, timeline.COMMANDS)
    assert long.x + long.width == pytest.approx(timeline.WIDTH)
    assert long.width == pytest.approx(timeline.WIDTH / 2, rel=0.02)
    assert (short.width, short.x + short.width) == (timeline.MIN_BAR_WIDTH, timeline.WIDTH)


def test_critical_on_top_and_newest_first() -> None:
    critical = Entry(timeline.INCIDENTS, "critical", "Stalled", at(30), at(10))
    warning = Entry(timeline.INCIDENTS, "warning", "Loop", at(20), at(15))
    found = drawn(critical, warning)
    assert [bar.tone for bar in bars(found, timeline.INCIDENTS)] == ["warning", "critical"]
    assert [one.text for one in found.entries] == ["Loop", "Stalled"]


def test_important_lanes_are_shown_when_empty() -> None:
    assert [lane.key for lane in drawn().lanes] == ["beats", "incidents", "commands", "outages"]


def test_heartbeat_columns_scale_to_the_maximum() -> None:
    errors = Row(at(3), (2, 1, 0, 0, 0, 0, 0, 0))
    lane = timeline.build(series.build(HOUR, NOW, [row(5, 10), errors]), []).lanes[0]
    assert {tone: re.findall(r"v-([\d.]+)h", shape) for tone, shape in lane.shapes} == {
        "beats": ["24.0", "4.8"],
        "critical": ["4.0"],
    }


@pytest.mark.parametrize("zoom", series.ZOOMS)
def test_heartbeats_are_drawn_at_their_time(zoom: series.Zoom) -> None:
    """On one scale with all else that happened, though the last step is not over."""
    begun = datetime.fromtimestamp(series.begin(NOW - zoom.length / 2, zoom.step), UTC)
    rows = [row(minutes=(NOW - begun).total_seconds() / 60), row(0)]
    found = timeline.build(series.build(zoom, NOW, rows), [Entry(timeline.RUNS, "calm", "Started", begun, begun)])
    columns = re.findall(r"M([\d.]+) 24v-[\d.]+h([\d.]+)v", found.lanes[0].shapes[0][1])
    middle, last = [(float(x), float(width)) for x, width in columns]
    assert middle[0] == bars(found, timeline.RUNS)[0].x
    assert round(last[1], 1) >= timeline.MIN_BAR_WIDTH * timeline.FILLED
    assert sum(last) <= timeline.WIDTH


def reported(minutes: float, *, progress: bool = False, **content: Any) -> recent.ReportedBeat:
    return recent.ReportedBeat(at(minutes), "ok", progress, content)


def test_most_called_tools_come_first() -> None:
    beats = [reported(n, calls=[{"name": "search"}, {"name": "search"}, {"name": "fetch"}]) for n in range(3)]
    beats.append(reported(4, calls=[{"name": "ask", "ms": 340.0, "ok": False}]))
    assert [(one.name, one.times, one.failed, one.usual) for one in recent.tool_stats(beats)] == [
        ("search", 6, 0, None),
        ("fetch", 3, 0, None),
        ("ask", 1, 1, 0.34),
    ]


def test_rare_tools_are_grouped() -> None:
    names = {f"tool-{n:02}": 100 - n for n in range(14)}
    found = tool_counts.shown({**names, tool_counts.OTHERS: 5})
    assert len(found) == tool_counts.SHOWN + 1
    assert found[0] == ("tool-00", 100, 55)
    assert found[-1] == (tool_counts.OTHERS, 88 + 87 + 5, 100)
