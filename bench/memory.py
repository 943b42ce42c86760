#!/usr/bin/env python3
"""Accuracy of leak detection: bench/memory.py [--seed 5] [--agents 40] [--days 10].

Simulates the memory of processes, one heartbeat per minute, and runs the server's own rule (`agents/rules/memory.py`)
every ten minutes. Without a leak: flat with noise, garbage collected every few minutes to eight hours, warm-up, jumps
and stairs, daily tides, a bounded random walk. Leaks: flat, then growth by 3 to 40 % per hour.

Columns: false findings per 1,000 agent-days, without a limit and with one of four times the initial memory; the share
of leaks found before memory has quadrupled (without a limit) and before the limit is reached. Exits with 1 above one
false finding per 1,000 days over all kinds, or below 95 % of leaks found before the limit.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from agents.rules import memory
from agents.rules.facts import BeatSeen, Facts

EPOCH = datetime(2026, 6, 1, tzinfo=UTC)
MINUTES_PER_DAY = 1_440
LIMIT = 4.0
Rng = random.Random
# The memory at a minute, as a multiple of the initial memory.
Shape = Callable[[int], float]


def flat(rng: Rng) -> Shape:
    noise = rng.uniform(0, 0.1)
    return lambda minute: 1 + abs(rng.gauss(0, noise))


def garbage(rng: Rng) -> Shape:
    period, height = math.exp(rng.uniform(math.log(5), math.log(480))), rng.uniform(0.1, 1.5)
    return lambda minute: 1 + height * ((minute / period) % 1) + abs(rng.gauss(0, 0.02))


def warming(rng: Rng) -> Shape:
    tau, height = rng.uniform(10, 240), rng.uniform(0.5, 2)
    return lambda minute: 1 + height * (1 - math.exp(-minute / tau)) + abs(rng.gauss(0, 0.02))


def jumps(rng: Rng) -> Shape:
    level = 1.0

    def shape(minute: int) -> float:
        nonlocal level
        if rng.random() < 4 / MINUTES_PER_DAY:
            level = rng.uniform(1, 3)
        return level + abs(rng.gauss(0, 0.02))

    return shape


def tides(rng: Rng) -> Shape:
    height, phase = rng.uniform(0, 0.8), rng.random()
    days = [rng.uniform(0.9, 1.1) for _ in range(400)]

    def shape(minute: int) -> float:
        day = days[minute // MINUTES_PER_DAY]
        return 1 + height * day * (1 + math.sin(2 * math.pi * (minute / MINUTES_PER_DAY + phase))) / 2

    return shape


def walk(rng: Rng) -> Shape:
    away, back = 0.0, 1 / rng.uniform(30, 600)
    step = rng.uniform(0.1, 0.3) * math.sqrt(2 * back)

    def shape(minute: int) -> float:
        nonlocal away
        away += rng.gauss(0, step) - back * away
        return max(0.3, 1 + away)

    return shape


def leak(rng: Rng, begins: int) -> Shape:
    rate, noise = math.exp(rng.uniform(math.log(0.03), math.log(0.4))), rng.uniform(0, 0.1)
    return lambda minute: 1 + rate * max(0, minute - begins) / 60 + abs(rng.gauss(0, noise))


HONEST = {shape.__name__: shape for shape in (flat, garbage, warming, jumps, tides, walk)}


def findings(shape: Shape, base: float, minutes: int, limit: float | None) -> Iterator[tuple[int, bool]]:
    """The minute at the end of each slot, and whether the rule finds growth then."""
    state: dict[str, Any] = {}
    row: Any = None
    thresholds = {} if limit is None else {"limit_mb": limit}
    for minute in range(minutes):
        now = EPOCH + timedelta(minutes=minute)
        state = memory.read(state, [BeatSeen(now, "ok", memory_mb=base * shape(minute))])
        if minute % 10 == 0:
            facts = Facts(now=now, row=row, interval=60, today=now.date(), state=state, thresholds=thresholds)
            yield minute, memory.check(facts) is not None


def false_findings(kind: str, seed: str, days: int, limited: bool) -> int:
    rng = random.Random(f"{seed} {kind}")
    base = math.exp(rng.uniform(math.log(100), math.log(4_000)))
    found, before = 0, False
    limit = LIMIT * base if limited else None
    for _, is_found in findings(HONEST[kind](rng), base, days * MINUTES_PER_DAY, limit):
        found, before = found + (is_found and not before), is_found
    return found


def found_in_time(seed: str, limited: bool) -> bool:
    rng = random.Random(f"{seed} leak")
    base, begins = math.exp(rng.uniform(math.log(200), math.log(4_000))), rng.randrange(25 * 60, 48 * 60)
    shape = leak(rng, begins)
    limit = LIMIT * base if limited else None
    for minute, is_found in findings(shape, base, begins + 100 * 60, limit):
        if shape(minute) >= LIMIT:
            return False
        if is_found and minute > begins:
            return True
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--agents", type=int, default=20, help="agents per kind")
    parser.add_argument("--days", type=int, default=10)
    options = parser.parse_args()
    numbers, total = range(options.agents), [0, 0]
    print(f"{'honest':10}{'false/1000 days':>17}{'with a limit':>14}")
    for kind in HONEST:
        counts = [
            sum(false_findings(kind, f"{options.seed} {n}", options.days, limited) for n in numbers)
            for limited in (False, True)
        ]
        total = [one + other for one, other in zip(total, counts, strict=True)]
        rates = [1_000 * count / (options.agents * options.days) for count in counts]
        print(f"{kind:10}{rates[0]:17.2f}{rates[1]:14.2f}")
    rates = [1_000 * count / (options.agents * options.days * len(HONEST)) for count in total]
    found = [
        100 * sum(found_in_time(f"{options.seed} {n}", limited) for n in numbers) / options.agents
        for limited in (False, True)
    ]
    print(f"{'together':10}{rates[0]:17.2f}{rates[1]:14.2f}\n{'leaks, %':10}{found[0]:17.1f}{found[1]:14.1f}")
    return 0 if max(rates) <= 1 and found[1] >= 95 else 1


if __name__ == "__main__":
    sys.exit(main())
