"""A few days of `bench/stalls.py`: each kind of agent, false stalls and found ones."""

from __future__ import annotations

import pytest

from bench import simulated, stalls

KINDS = [kind for kind in simulated.KINDS if kind not in simulated.UNCOUNTED]


@pytest.mark.parametrize("kind", KINDS)
def test_honest_gaps_are_no_stalls_and_stalls_are_found(kind: str) -> None:
    found = stalls.line([stalls.month(kind, f"test {number}", 8) for number in range(2)])
    assert found.false == 0
    assert found.found >= 65  # of eight days one is the first
    assert found.size <= 1_500


def test_an_agent_that_is_never_told_would_show() -> None:
    watched = stalls.Watched()
    for minute in range(900):
        watched.take(simulated.Event(60.0 * minute))
    assert watched.says_stalled(stalls.moment(54_000 + 600))
    assert not watched.says_stalled(stalls.moment(54_000 + 200))
