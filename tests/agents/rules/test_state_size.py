"""The state of all rules for one busy agent is a few KB."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agents import rules
from agents.rules.facts import BeatSeen

T0 = datetime(2026, 6, 1, tzinfo=UTC)


def busy(rng: random.Random, at: datetime, number: int) -> BeatSeen:
    calls = [
        {"name": rng.choice("abcdefgh") * 12, "args": f"query={rng.randrange(50)}" * 6, "args_hash": f"{rng.random()}"}
        for _ in range(rng.randrange(6))
    ]
    return BeatSeen(
        at,
        "ok" if rng.random() < 0.95 else "error",
        rng.choice(["", f"working on item {rng.randrange(999)}"]),
        calls=calls,
        tokens=rng.randrange(9_000),
        cost=rng.randrange(9_000),
        progress=True,
        memory_mb=500 + rng.random() * 4_000,
        counter=len(calls),
        iteration=number,
        prompts=[f"{rng.random():.14f}" for _ in range(5)],
    )


@pytest.mark.slow
def test_state_of_all_rules_is_at_most_6_kb() -> None:
    rng, at = random.Random(1), T0
    memory: dict[str, Any] = {}
    for number in range(3_000):
        at += timedelta(seconds=rng.choice([5, 60, 300, 900]) if number % 97 else 4 * 3_600)
        memory = rules.read(memory, [busy(rng, at, number)], rules.every())
        sizes = {kind: len(json.dumps(kept, separators=(",", ":"))) for kind, kept in memory.items()}
        assert sum(sizes.values()) <= 6_144, sizes
