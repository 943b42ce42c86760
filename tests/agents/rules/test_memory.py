"""Steady memory growth alerts with a forecast; garbage, jumps, warm-up and old peaks do not."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agents.domain.notes import STARTED
from agents.rules import memory
from agents.rules.facts import BeatSeen, Finding
from tests.agents.rules.conftest import quiet_facts

T0 = datetime(2026, 6, 1, tzinfo=UTC)
HOUR, DAY = 60, 1_440
Shape = Callable[[int], float]


def at(minute: float) -> datetime:
    return T0 + timedelta(minutes=minute)


def held(shape: Shape, minutes: Iterable[int], state: dict[str, Any] | None = None) -> dict[str, Any]:
    return memory.read(state or {}, [BeatSeen(at(minute), "ok", memory_mb=shape(minute)) for minute in minutes])


def judged(state: dict[str, Any], minute: float, **given: float) -> Finding | None:
    return memory.check(quiet_facts(at(minute), state=state, thresholds=given))


def leak(minute: int) -> float:
    """A day at 1,000 MB, then 120 MB per hour."""
    return 1_000 + 2 * max(0, minute - DAY)


def test_leak_has_a_forecast() -> None:
    end = DAY + 18 * HOUR
    found = judged(held(leak, range(0, end + 1, 2)), end, limit_mb=4_096)
    assert found is not None
    assert found.reason == "Memory has grown by 120 MB per hour for 12 hours: 3.1 GB now, 4 GB at about 3 Jun 01:48"
    assert (found.severity, found.kind) == ("warning", "memory")
    assert found.evidence["mb_an_hour"] == pytest.approx(120)


def test_growth_by_half_alerts_without_a_limit() -> None:
    end = DAY + 13 * HOUR
    found = judged(held(leak, range(0, end + 1, 2)), end)
    assert found is not None
    assert found.reason.endswith("2.5 GB now")
    assert "limit_mb" not in found.evidence


def test_growth_by_less_than_half_does_not_alert() -> None:
    end = DAY + 3 * HOUR
    assert judged(held(leak, range(0, end + 1, 2)), end) is None


def test_distant_limit_does_not_alert() -> None:
    def slow(minute: int) -> float:
        return 1_000 + 0.1 * minute

    state = held(slow, range(0, 2 * DAY, 5))
    assert judged(state, 2 * DAY, limit_mb=1_600) is None
    assert judged(state, 2 * DAY, limit_mb=1_330) is not None


def test_no_forecast_at_the_limit() -> None:
    end = DAY + 18 * HOUR
    found = judged(held(leak, range(0, end + 1, 2)), end, limit_mb=3_000)
    assert found is not None
    assert found.reason.endswith("3.1 GB now, of 2.9 GB")


HONEST: dict[str, Shape] = {
    "flat": lambda minute: 1_000,
    "garbage every 40 minutes": lambda minute: 1_000 + 30 * (minute % 40),
    "garbage every 7 hours": lambda minute: 1_000 + 4 * (minute % 420),
    "warming up": lambda minute: 1_000 + 2_000 * (1 - math.exp(-minute / 180)),
    "one jump": lambda minute: 1_000 if minute < DAY + 300 else 2_500,
    "stairs": lambda minute: 1_000 + 300 * (minute // 400),
    "tides": lambda minute: 1_500 + 500 * math.sin(minute / DAY * 2 * math.pi),
    "falling": lambda minute: 5_000 - minute,
}


@pytest.mark.parametrize("name", HONEST)
def test_no_alert_without_a_leak(name: str) -> None:
    state: dict[str, Any] = {}
    for start in range(0, 2 * DAY, 10):
        state = held(HONEST[name], range(start, start + 10, 2), state)
        assert judged(state, start + 10, limit_mb=8_000) is None


def test_over_when_memory_is_released() -> None:
    end = DAY + 18 * HOUR
    state = held(leak, range(0, end, 2))
    assert judged(state, end) is not None
    assert judged(held(lambda minute: 1_000, range(end, end + 21, 2), state), end + 20) is None


def test_new_process_starts_over() -> None:
    end = DAY + 18 * HOUR
    state = memory.read(held(leak, range(0, end, 2)), [BeatSeen(at(end), "ok", note=STARTED, memory_mb=900)])
    assert judged(state, end) is None
    assert state["low"] == [900]


def test_agents_without_memory_reports_are_ignored() -> None:
    assert memory.read({}, [BeatSeen(at(0), "ok")]) == {}
    assert judged({}, 0, limit_mb=1) is None


def test_gap_in_the_reports_is_bridged() -> None:
    state = held(leak, [0, DAY, DAY + 1, 40 * DAY])
    assert len(state["low"]) == 73
    assert judged(state, 40 * DAY) is None


def test_state_is_small_and_replayable() -> None:
    def spiky(minute: int) -> float:
        return 123_456.7 + minute * 1.7 + 1_000 * (minute % 7)

    whole, stored = held(spiky, range(3 * DAY)), dict[str, Any]()
    for minute in range(0, 3 * DAY, 30):
        stored = held(spiky, range(minute, minute + 30), json.loads(json.dumps(stored)))
    assert stored == whole
    assert len(json.dumps(whole)) <= 1_000
