"""One key's requests through several web processes count together, without a statement per request."""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import ConnectionError as RedisDown
from redis import Redis

from agents.ingest import shared_counts
from agents.ingest.rate_limit import FLOOD_FACTOR, Meter, count_beats
from billing.plans import BY_KEY
from teams.auth import Caller
from teams.errors import ApiError

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
FREE = BY_KEY["free"]
FLOOD = FREE.requests_per_minute * FLOOD_FACTOR
REAL = os.environ.get("REDIS_URL", "")


class FakeRedis:
    """Of Redis, what a pipeline of counters needs."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.kept: set[int] = set()
        self.round_trips = 0
        self._answers: list[Any] = []

    def pipeline(self, transaction: bool) -> FakeRedis:
        self._answers = []
        return self

    def incrby(self, key: str, count: int) -> None:
        self.counts[key] += count
        self._answers.append(self.counts[key])

    def expire(self, key: str, seconds: int) -> None:
        self.kept.add(seconds)
        self._answers.append(True)

    def execute(self) -> list[Any]:
        self.round_trips += 1
        return self._answers


@pytest.fixture
def caller(monkeypatch: pytest.MonkeyPatch) -> Caller:
    monkeypatch.setattr("django.utils.timezone.now", lambda: NOW)
    facts: dict[str, Any] = {"project_id": 1, "team_id": 1, "time_zone": "UTC", "strict": False, "default_grace": None}
    return Caller(key_id=1, prefix="cv_abc", scope="agent", **facts)


def admitted(meter: Meter, caller: Caller, tries: int) -> int:
    passed = 0
    for _ in range(tries):
        try:
            count_beats(caller, FREE, 1, NOW, meter)
            passed += 1
        except ApiError:
            pass
    return passed


def test_processes_admit_one_limit_together(caller: Caller) -> None:
    redis, processes = FakeRedis(), [Meter() for _ in range(4)]
    per_second = 100
    total = 0
    for _ in range(60):
        for meter in processes:
            total += admitted(meter, caller, per_second)
        for meter in processes:
            shared_counts.exchange_once(redis, meter)
    # Each process notices the others' last second one exchange late.
    assert FLOOD <= total <= FLOOD + 2 * per_second * len(processes)


def test_request_waits_for_no_redis(caller: Caller) -> None:
    redis, meter = FakeRedis(), Meter()
    admitted(meter, caller, 50)
    assert redis.round_trips == 0
    shared_counts.exchange_once(redis, meter)
    shared_counts.exchange_once(redis, meter)
    assert redis.round_trips == 1, "nothing new, nothing to tell"
    assert redis.kept == {shared_counts.KEPT_SECONDS}


def test_counts_are_told_once(caller: Caller) -> None:
    redis, here, there = FakeRedis(), Meter(), Meter()
    for _ in range(3):
        admitted(here, caller, 2)
        shared_counts.exchange_once(redis, here)
    admitted(there, caller, 1)
    shared_counts.exchange_once(redis, there)
    assert set(redis.counts.values()) == {7}
    assert there.add(caller, "beats", 1, NOW) == 8


def test_dead_redis_loses_no_count(caller: Caller) -> None:
    class Down(FakeRedis):
        def execute(self) -> list[Any]:
            raise RedisDown

    meter, redis = Meter(), FakeRedis()
    admitted(meter, caller, 5)
    shared_counts.exchange_once(Down(), meter)
    shared_counts.exchange_once(redis, meter)
    assert set(redis.counts.values()) == {5}


def test_next_minute_starts_at_zero(caller: Caller) -> None:
    redis, meter, later = FakeRedis(), Meter(), NOW + timedelta(minutes=1)
    admitted(meter, caller, 5)
    shared_counts.exchange_once(redis, meter)
    redis.counts.update(dict.fromkeys(redis.counts, 100))
    assert meter.add(caller, "beats", 1, later) == 1


@pytest.mark.skipif(not REAL, reason="no Redis")
def test_two_processes_meet_in_redis(caller: Caller) -> None:
    redis: Any = Redis.from_url(REAL)
    here, there = Meter(), Meter()
    for meter in (here, there):
        admitted(meter, caller, 3)
        shared_counts.exchange_once(redis, meter)
    shared_counts.exchange_once(redis, here)
    assert there.add(caller, "beats", 1, NOW) == 7
    redis.delete(*redis.keys("watchdog:requests:*cv_abc*"))
