"""A few days of `bench/stalls.py`: each kind of agent, false and found stalls."""

from __future__ import annotations

import pytest

from bench import simulated, stalls

KINDS = [kind for kind in simulated.KINDS if kind not in simulated.UNCOUNTED]


@pytest.mark.parametrize("kind", KINDS)
def test_stalls_are_found_and_honest_gaps_are_not(kind: str) -> None:
    found = stalls.line([stalls.month(kind, f"test {number}", 8) for number in range(2)])
    assert found.false == 0
    assert found.found >= 65  # one of eight days is the first
    assert found.size <= 1_500


def test_bench_notices_undetected_stalls() -> None:
    watched = stalls.Watched()
    for minute in range(900):
        watched.take(simulated.Event(60.0 * minute))
    assert watched.says_stalled(stalls.moment(54_000 + 600))
    assert not watched.says_stalled(stalls.moment(54_000 + 200))
