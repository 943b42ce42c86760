"""Rollups of heartbeats."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from agents.domain import tool_counts
from agents.models import Heartbeat, Rollup
from agents.storage import rollups
from tests.agents.conftest import T0, World, in_threads


def sums(span: str) -> list[tuple[int, int, int, int]]:
    rows = Rollup.objects.filter(span=span).order_by("start")
    return [(int((row.start - T0).total_seconds()), row.beats, row.tokens, row.cost) for row in rows]


def test_heartbeats_are_rolled_up(world: World) -> None:
    for at in (0, 30, 90, 4000):
        world.beat(at, tokens_used=10, cost_usd=0.5)
    rollups.roll_up(T0 + timedelta(seconds=4010))
    assert sums("m") == [(0, 2, 20, 1_000_000), (60, 1, 10, 500_000), (3960, 1, 10, 500_000)]
    assert sums("h") == [(0, 3, 30, 1_500_000), (3600, 1, 10, 500_000)]
    assert sums("d") == [(-43200, 4, 40, 2_000_000)]


def test_heartbeats_arrive_during_a_rollup(live_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite has one writer, which pauses between chunks so that others can write."""
    for at in (0, 60, 120):
        live_world.beat(at)
    stored: list[Any] = []
    monkeypatch.setattr(rollups, "WRITE_CHUNK", 1)
    monkeypatch.setattr(time, "sleep", lambda _: stored.extend(in_threads(1, lambda _: live_world.beat(130))))
    rollups.roll_up(T0 + timedelta(seconds=140))
    assert len(stored) == (0 if connection.features.has_select_for_update else 2)
    monkeypatch.undo()
    rollups.roll_up(T0 + timedelta(seconds=200))
    assert [beats for _, beats, _, _ in sums("m")] == [1, 1, 1 + len(stored)]


def most(span: str) -> list[tuple[int, float | None, float | None]]:
    rows = Rollup.objects.filter(span=span).order_by("start")
    return [(int((row.start - T0).total_seconds()), row.memory_mb, row.gap) for row in rows]


def tools_of(span: str) -> list[Any]:
    return list(Rollup.objects.filter(span=span).order_by("start").values_list("tools", flat=True))


def log(*names: str) -> list[dict[str, str]]:
    return [{"name": name, "args": "query=planning"} for name in names]


def test_memory_and_gaps_keep_the_maximum(world: World) -> None:
    for at, memory in ((0, 200.5), (30, None), (90, 300), (3700, 50), (3710, 40)):
        world.beat(at, memory_mb=memory)
    rollups.roll_up(T0 + timedelta(seconds=3720))
    assert most("m") == [(0, 200.5, 30.0), (60, 300.0, 60.0), (3660, 50.0, 3610.0)]
    assert most("h") == [(0, 300.0, 60.0), (3600, 50.0, 3610.0)]
    assert most("d") == [(-43200, 300.0, 3610.0)]


def test_calls_are_counted_by_name(world: World) -> None:
    world.beat(0, tool_call_log=log("search", "search", "fetch"))
    world.beat(10, tool_call_log=log("search"), tool_calls=1, memory_mb=1)
    world.beat(70, tool_call_log=log("ask"))
    world.beat(3700)
    rollups.roll_up(T0 + timedelta(seconds=3710))
    assert tools_of("m") == [{"search": 3, "fetch": 1}, {"ask": 1}, {}]
    assert tools_of("h") == [{"search": 3, "fetch": 1, "ask": 1}, {}]
    assert tools_of("d") == [{"search": 3, "fetch": 1, "ask": 1}]


def test_only_new_calls_of_a_log_count(world: World) -> None:
    world.beat(0, tool_call_log=log("search", "fetch"), tool_calls=2)
    world.beat(10, tool_call_log=log("search", "fetch", "ask"), tool_calls=1)
    world.beat(20, tool_calls=7)
    rollups.roll_up(T0 + timedelta(seconds=30))
    assert tools_of("m") == [{"search": 1, "fetch": 1, "ask": 1}]


def test_rare_tools_share_one_count(world: World) -> None:
    for minute in range(4):
        world.beat(60 * minute, tool_call_log=log("search", *(f"tool-{minute}-{n}" for n in range(49))))
    rollups.roll_up(T0 + timedelta(seconds=240))
    for span in ("m", "h", "d"):
        for names in tools_of(span):
            assert len(names) == tool_counts.MAX_NAMES + 1
            assert "search" in names
        assert sum(sum(names.values()) for names in tools_of(span)) == 200


def test_spool_counts_to_when_it_was_sent(world: World) -> None:
    world.beat(0, memory_mb=100, tool_call_log=log("search"))
    rollups.roll_up(T0 + timedelta(seconds=10))
    sent_at = (T0 + timedelta(seconds=65)).isoformat()
    world.beat(4 * 3600, memory_mb=900, tool_call_log=log("search", "fetch"), sent_at=sent_at)
    for later in (10, 70):
        rollups.roll_up(T0 + timedelta(hours=4, seconds=later))
        assert most("h") == [(0, 900.0, 4 * 3600.0)]
        assert tools_of("m") == [{"search": 1}, {"search": 1, "fetch": 1}]
        assert tools_of("h") == tools_of("d") == [{"search": 2, "fetch": 1}]


def test_old_rollups_stay_without_tools(world: World) -> None:
    world.beat(0, tool_call_log=log("search"))
    hour: Any = {"agent": world.agent(), "span": "h", "beats": 9, "tool_calls": 9}
    for hours in (-2, -1):
        Rollup.objects.create(start=T0 + timedelta(hours=hours), **hour)
    rollups.roll_up(T0 + timedelta(seconds=10))
    assert most("h")[:2] == [(-7200, None, None), (-3600, None, None)]
    assert tools_of("h") == [None, None, {"search": 1}]
    assert tools_of("d") == [{"search": 1}]


def test_repeated_rollups_count_once(world: World) -> None:
    total = 0
    for at in range(0, 3000, 45):
        world.beat(at, tokens_used=1)
        total += 1
        if at % 60 < 45:
            rollups.roll_up(T0 + timedelta(seconds=at + 1))
    rollups.roll_up(T0 + timedelta(seconds=3001))
    assert sum(row[1] for row in sums("m")) == total
    assert sum(row[1] for row in sums("d")) == total


def test_rollup_catches_up_after_an_hour(world: World) -> None:
    world.beat(0, tokens_used=1)
    rollups.roll_up(T0 + timedelta(seconds=1))
    for at in (100, 2000, 3900):
        world.beat(at, tokens_used=1)
    rollups.roll_up(T0 + timedelta(seconds=4000))
    rollups.roll_up(T0 + timedelta(seconds=8000))
    assert sum(row[1] for row in sums("m")) == 4
    assert sum(row[1] for row in sums("h")) == 4


def test_hours_follow_within_five_minutes(world: World) -> None:
    """They have sixty times as much to read as the last minute."""
    world.beat(0, tokens_used=1)
    rollups.roll_up(T0 + timedelta(seconds=10))
    for at in range(30, 330, 60):
        world.beat(at, tokens_used=1)
        rollups.roll_up(T0 + timedelta(seconds=at + 10))
        assert sum(row[1] for row in sums("m")) == 2 + at // 60
    assert (sums("h")[0][1], sums("d")[0][1]) == (1, 1)
    rollups.roll_up(T0 + timedelta(seconds=340))
    assert (sums("h")[0][1], sums("d")[0][1]) == (6, 6)


def test_the_last_minutes_of_an_hour_are_added_up(world: World) -> None:
    world.beat(3_590, tokens_used=1)
    rollups.roll_up(T0 + timedelta(seconds=3_605))
    world.beat(3_599, tokens_used=1)
    for at in (3_620, 3_680, 3_901):
        rollups.roll_up(T0 + timedelta(seconds=at))
    assert sums("h") == [(0, 2, 2, 0)]


def test_a_heartbeat_committed_late_is_counted(world: World) -> None:
    """Its id is lower than that of others that were rolled up before, and its minute is over."""
    for at in (0, 60, 200):
        world.beat(at, tokens_used=1)
    values = hide(Heartbeat.objects.get(spent_at=T0 + timedelta(seconds=60)))
    for at in (210, 270):
        rollups.roll_up(T0 + timedelta(seconds=at))
    assert sums("m") == [(0, 1, 1, 0), (180, 1, 1, 0)]
    Heartbeat.objects.create(**values)
    rollups.roll_up(T0 + timedelta(seconds=330))
    assert sums("m") == [(0, 1, 1, 0), (60, 1, 1, 0), (180, 1, 1, 0)]
    assert sums("h") == [(0, 3, 3, 0)]


def hide(beat: Heartbeat) -> dict[str, Any]:
    """Take a heartbeat away, as if its transaction were not committed yet. Returns its columns."""
    values = {field.attname: getattr(beat, field.attname) for field in Heartbeat._meta.concrete_fields}
    beat.delete()
    return values


def test_a_spool_committed_late_is_counted(world: World) -> None:
    """Its id is lower than that of others that were rolled up before, and it was sent hours ago."""
    world.beat(0, tokens_used=1)
    world.beat(4 * 3600, tokens_used=1, sent_at=(T0 + timedelta(seconds=65)).isoformat())
    values = hide(Heartbeat.objects.get(spent_at=T0 + timedelta(seconds=65)))
    world.beat(4 * 3600 + 1, tokens_used=1)
    rollups.roll_up(T0 + timedelta(hours=4, seconds=10))
    Heartbeat.objects.create(**values)
    rollups.roll_up(T0 + timedelta(hours=4, seconds=70))
    assert [row[1] for row in sums("m")] == [1, 1, 1]
    assert [row[1] for row in sums("h")] == [2, 1]


def test_each_run_writes_only_what_is_new(world: World) -> None:
    for at in range(0, 600, 30):
        world.beat(at)
    rollups.roll_up(T0 + timedelta(seconds=601))
    Rollup.objects.update(beats=99)
    world.beat(599)
    rollups.roll_up(T0 + timedelta(seconds=661))
    assert [row[1] for row in sums("m")] == [99] * 9 + [3]
    Rollup.objects.update(beats=99)
    rollups.roll_up(T0 + timedelta(seconds=721))
    assert [row[1] for row in sums("m")] == [99] * 10


@pytest.mark.parametrize("seed", range(4))
def test_sums_are_those_of_all_heartbeats(world: World, seed: int) -> None:
    """However heartbeats, spools, late commits and runs follow each other."""
    story, at, hidden = random.Random(seed), 0, list[dict[str, Any]]()
    for _ in range(60):
        at += story.choice((1, 7, 20, 45))
        kind = story.choices(("beat", "spool", "hide", "run", "gap"), (8, 1, 1, 3, 1))[0]
        if kind == "run":
            rollups.roll_up(T0 + timedelta(seconds=at))
            Heartbeat.objects.bulk_create(Heartbeat(**values) for values in hidden)
            hidden.clear()
        elif kind == "gap":
            at += 400 * (not hidden)
        else:
            sent_at = T0 + timedelta(seconds=at - story.randrange(7200) * (kind == "spool"))
            beat_at_random(world, story, at, sent_at)
            hidden += [hide(Heartbeat.objects.latest("id"))] if kind == "hide" else []
    Heartbeat.objects.bulk_create(Heartbeat(**values) for values in hidden)
    for later in (1, 400):
        rollups.roll_up(T0 + timedelta(seconds=at + later))
    for span in Rollup.Span.values:
        assert stored_sums(span) == added_up(span)


def beat_at_random(world: World, story: random.Random, at: float, sent_at: datetime) -> None:
    names = story.choices(("search", "fetch", "ask"), k=story.randrange(3))
    world.beat(
        at,
        story.choice(("a", "b")),
        status=story.choice(("ok", "ok", "error")),
        tokens_used=story.randrange(100),
        cost_usd=story.randrange(9),
        memory_mb=story.choice((None, 100, 250.5)),
        tool_call_log=log(*names) or None,
        sent_at=sent_at.isoformat(),
    )


def stored_sums(span: str) -> dict[Any, Any]:
    columns = ("beats", "errors", "progress", "tokens", "cost", "tool_calls", "memory_mb", "gap", "tools")
    rows = Rollup.objects.filter(span=span)
    return {(row.agent_id, row.start): tuple(getattr(row, name) for name in columns) for row in rows}


def added_up(span: str) -> dict[Any, Any]:
    """The same, one heartbeat after another."""
    by_span: dict[Any, list[Heartbeat]] = defaultdict(list)
    coarse: dict[str, Any] = {"m": {}, "h": {"minute": 0}, "d": {"minute": 0, "hour": 0}}
    for beat in Heartbeat.objects.order_by("id"):
        start = beat.spent_at.replace(second=0, microsecond=0, **coarse[span])
        by_span[beat.agent_id, start].append(beat)
    return {key: sums_of(beats) for key, beats in by_span.items()}


def sums_of(beats: list[Heartbeat]) -> tuple[Any, ...]:
    logs = ((beat.content or {}).get("calls", [])[-beat.tool_calls :] for beat in beats if beat.tool_calls)
    tools = Counter(call["name"] for calls in logs for call in calls)
    return (
        len(beats),
        sum(beat.status == "error" for beat in beats),
        sum(beat.progress for beat in beats),
        sum(beat.tokens for beat in beats),
        sum(beat.cost for beat in beats),
        sum(beat.tool_calls for beat in beats),
        max((beat.memory_mb for beat in beats if beat.memory_mb is not None), default=None),
        max((beat.gap for beat in beats if beat.gap is not None), default=None),
        dict(tools),
    )


def test_orphaned_heartbeat_does_not_stop_rollups(world: World) -> None:
    world.beat(0, tokens_used=1)
    gone = world.agent().pk + 1000
    Heartbeat.objects.create(agent_id=gone, day=T0.date(), received_at=T0, status="ok")
    rollups.roll_up(T0 + timedelta(seconds=10))
    connection.check_constraints()
    assert sums("m") == [(0, 1, 1, 0)]
