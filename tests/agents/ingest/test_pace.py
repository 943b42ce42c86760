"""How far an event loop is behind."""

from __future__ import annotations

import asyncio
import time

import pytest

from agents.ingest import pace
from agents.ingest.pace import Pace


class Time:
    """A clock to set."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time()
    monkeypatch.setattr(pace, "time", clock)
    return clock


def test_a_loop_is_late_while_it_is_busy(clock: Time) -> None:
    async def measure() -> tuple[float, float]:
        measured = Pace(asyncio.get_running_loop())
        before = measured.behind()
        clock.now = pace.EVERY + 3  # the timer cannot go off before this ends
        return before, measured.behind()

    assert asyncio.run(measure()) == (0.0, 3.0)


def test_a_loop_is_in_time_again(clock: Time) -> None:
    async def measure() -> list[float]:
        measured = Pace(asyncio.get_running_loop())
        clock.now = pace.EVERY + 3
        measured._look()
        late = measured.behind()
        clock.now += pace.EVERY
        measured._look()
        return [late, measured.behind()]

    assert asyncio.run(measure()) == [3.0, 0.0]


def test_a_loop_that_ended_is_not_late(clock: Time) -> None:
    async def measure() -> Pace:
        return Pace(asyncio.get_running_loop())

    measured = asyncio.run(measure())
    clock.now = 60
    assert measured.behind() == 0.0


def test_the_timer_goes_off() -> None:
    async def measure() -> float:
        measured = Pace(asyncio.get_running_loop())
        due = measured._due
        while measured._due == due:
            await asyncio.sleep(0.01)
        return measured._due - due

    began = time.monotonic()
    assert 0 < asyncio.run(measure()) < time.monotonic() - began + pace.EVERY
