"""The silence after a crash belongs to it, unless the crash rule is off."""

from __future__ import annotations

import pytest

from agents.models import Agent
from tests.agents.conftest import World

CRASH = {"status": "error", "message": "CRASH: KeyError: 'x'"}


def crashed(world: World, *, off: bool) -> None:
    world.beat(0)
    Agent.objects.update(rules={"crash": {"off": True}} if off else {})
    world.beat(1, **CRASH)
    world.watch(2, 200)


@pytest.mark.parametrize(("off", "kinds"), [(False, ["crash"]), (True, ["missed_heartbeat"])])
def test_silence_after_a_crash_is_one_incident(world: World, off: bool, kinds: list[str]) -> None:
    crashed(world, off=off)
    assert world.kinds() == kinds
    assert len(world.incidents()) == 1


def test_over_with_the_next_good_heartbeat(world: World) -> None:
    crashed(world, off=True)
    world.beat(201)
    world.look(202)
    assert world.kinds() == []


def test_nothing_before_the_deadline(world: World) -> None:
    world.beat(0)
    Agent.objects.update(rules={"crash": {"off": True}})
    world.beat(1, **CRASH)
    world.watch(2, 100)
    assert world.incidents() == []
