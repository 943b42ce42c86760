"""An agent's starts and waits, for its timeline."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from agents.domain.notes import STARTED
from agents.rules.facts import BeatSeen
from agents.rules.observers import history
from tests.agents.conftest import T0, World


def at(minutes: float) -> datetime:
    return T0 + timedelta(minutes=minutes)


def beat(minutes: float, **said: Any) -> BeatSeen:
    return BeatSeen(at(minutes), said.pop("status", "ok"), **said)


def waits(*beats: BeatSeen, until: datetime | None = None) -> list[Any]:
    """The waits after reading heartbeats one by one, as reviews do."""
    memory: dict[str, Any] = {}
    for one in beats:
        memory = json.loads(json.dumps(history.read(memory, [one])))
    assert memory == history.read({}, beats)
    return [tuple(one) for one in history.waits(memory, until, at(60))]


def test_wait_lasts_until_the_next_progress() -> None:
    beats = beat(1, waiting="approval"), beat(2, waiting="approval"), beat(3), beat(4, progress=True), beat(5)
    assert waits(*beats) == [("approval", at(1), at(4))]


def test_another_wait_ends_the_first() -> None:
    found = waits(beat(1, waiting="approval"), beat(5, waiting="a budget"))
    assert found == [("approval", at(1), at(5)), ("a budget", at(5), None)]


def test_agent_ends_its_wait() -> None:
    assert waits(beat(1, waiting="approval"), beat(3, wait_over=True)) == [("approval", at(1), at(3))]
    assert waits(beat(1, waiting="approval"), beat(3, status="shutdown")) == [("approval", at(1), at(3))]


def test_expired_wait_is_over() -> None:
    assert waits(beat(1, waiting="approval"), beat(9), until=at(6)) == [("approval", at(1), at(6))]
    assert waits(beat(1, waiting="approval"), until=at(90)) == [("approval", at(1), None)]


def test_start_is_listed_once() -> None:
    memory = history.read({}, [beat(1, note=STARTED), beat(2), beat(3, note=STARTED)])
    assert history.starts(memory, at(3.01)) == [at(1), at(3)]
    assert history.starts(memory, at(30)) == [at(1), at(3), at(30)]
    assert history.starts({}, None) == []


def test_state_is_bounded() -> None:
    beats = [beat(n, note=STARTED, waiting=f"{n} {'x' * 500}") for n in range(500)]
    memory = history.read({}, beats)
    assert history.starts(memory, None)[0] == at(500 - history.KEPT)
    assert len(json.dumps(memory)) < 5_000


def test_review_stores_starts_and_waits(world: World) -> None:
    world.beat(0, instance="a", seq=1)
    world.beat(60, instance="a", seq=2, waiting={"for": "approval", "max_seconds": 600})
    world.beat(120, instance="b", seq=1, progress=True)
    world.look(121)
    memory = world.agent().memory.rules[history.KIND]
    assert history.starts(memory, None)[-1] == T0 + timedelta(seconds=120)
    assert [one.what for one in history.waits(memory, None, at(3))] == ["approval"]
