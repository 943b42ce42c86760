"""The reason of a stall: how long, what is usual, and the last tool call."""

from __future__ import annotations

from typing import Any

import pytest

from agents.domain.wire.decoding import decode
from agents.models import Signal
from tests.agents.conftest import T0, World

MIN = 60


def work(world: World, until: int, every: int = 120) -> None:
    for at in range(0, until + 1, every):
        world.beat(at, progress=True)


def stuck(world: World, start: int, end: int, **said: Any) -> None:
    for at in range(start, end + 1, MIN):
        world.beat(at, progress=False, progress_age=at - start + MIN, **said)


def reason(world: World) -> str:
    return Signal.objects.get(kind="stalled", cleared_at__isnull=True).reason


def test_stall_names_the_running_tool(world: World) -> None:
    work(world, 40 * MIN)
    stuck(world, 41 * MIN, 87 * MIN, doing={"tool": "fetch_page", "since": "2026-05-04T12:40:10Z"})
    world.look(87 * MIN + 1)
    said = "No progress for 47 minutes; usually every 2 minutes; last: `fetch_page`, started 12:40"
    assert reason(world) == said


def test_tool_start_uses_the_servers_clock(world: World) -> None:
    work(world, 40 * MIN)
    wrong: dict[str, Any] = {"doing": {"tool": "fetch_page", "since": "2026-05-04T03:40:10Z"}}
    world.beat(41 * MIN, progress=False, **wrong, sent_at="2026-05-04T03:41:00Z")
    stuck(world, 42 * MIN, 87 * MIN)
    world.look(87 * MIN + 1)
    assert reason(world).endswith("last: `fetch_page`, started 12:40")


def test_stall_names_the_last_finished_call(world: World) -> None:
    work(world, 40 * MIN)
    world.beat(40 * MIN + 1, progress=True, tool_call_log=[{"name": "search", "ms": 2000}])
    stuck(world, 41 * MIN, 87 * MIN)
    world.look(87 * MIN + 1)
    assert reason(world).endswith("; last: `search`, started 12:39")


def test_stall_without_tools_names_none(world: World) -> None:
    work(world, 40 * MIN)
    stuck(world, 41 * MIN, 87 * MIN)
    world.look(87 * MIN + 1)
    assert reason(world) == "No progress for 47 minutes; usually every 2 minutes"


@pytest.mark.parametrize(
    ("since", "sent_at", "said"),
    [
        ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "3 May 12:01"),
        ("9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", "12:01"),
        ("0001-01-01T00:00:00+14:00", "2026-05-04T12:01:00", "3 May 12:01"),
    ],
)
def test_impossible_start_times_are_bounded(since: str, sent_at: str, said: str, world: World) -> None:
    world.beat(0, progress=True)
    world.beat(MIN, progress=False, doing={"tool": "fetch_page", "since": since}, sent_at=sent_at)
    stuck(world, 2 * MIN, 31 * MIN)
    world.look(31 * MIN + 1)
    assert reason(world).endswith(f"last: `fetch_page`, started {said}")


@pytest.mark.parametrize("ms", [-1, 1e12, 1e308])
def test_call_duration_is_bounded(ms: float) -> None:
    beat = decode(b'{"agent": "bot", "tool_call_log": [{"name": "search", "ms": %r}]}' % ms)
    assert [call.ms for call in beat.tool_call_log or ()] == [None]


def test_running_tool_is_no_wait(world: World) -> None:
    work(world, 40 * MIN)
    stuck(world, 41 * MIN, 87 * MIN, doing={"tool": "x", "since": T0.isoformat()})
    world.look(87 * MIN + 1)
    assert world.kinds() == ["stalled"]


@pytest.mark.parametrize("since", ["2026-05-04T12:00:00", "soon", 5])
def test_call_without_a_time_is_left_out(since: Any) -> None:
    body = f'{{"agent": "bot", "doing": {{"tool": "x", "since": {since if since == 5 else repr(since)}}}}}'
    beat = decode(body.replace("'", '"').encode())
    assert beat.doing is None
    assert list(beat.left_out or ()) == ["doing"]


def test_long_tool_name_is_cut() -> None:
    beat = decode(b'{"agent": "bot", "doing": {"tool": "%s", "since": "2026-05-04T12:00:00Z"}}' % (b"x" * 5000))
    assert beat.doing is not None
    assert len(beat.doing.tool) == 200
