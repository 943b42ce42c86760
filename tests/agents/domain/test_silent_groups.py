"""Groups of silent agents as tables of cases."""

from __future__ import annotations

import pytest

from agents.domain.silent_groups import Group, Peer, groups, is_source_quiet
from tests.agents.domain.test_clocks import at


def silent(agent_id: int, source: str, last: float = 0, interval: float = 10) -> Peer:
    return Peer(agent_id, source, at(last), interval, at(last + interval))


def alive(agent_id: int, source: str, last: float) -> Peer:
    return Peer(agent_id, source, at(last), 10)


@pytest.mark.parametrize(
    ("peers", "found"),
    [
        ([], []),
        ([silent(1, "a")], []),
        ([silent(1, "a"), silent(2, "a")], [Group("a", (1, 2))]),
        ([silent(1, "a"), silent(2, "a", 5)], [Group("a", (1, 2))]),
        ([silent(1, "a"), silent(2, "a", -900)], []),  # not at the same time
        ([silent(1, "a"), silent(2, "a"), alive(3, "a", 19)], []),  # the host is fine
        ([silent(1, "a"), silent(2, "a"), alive(3, "a", 4)], [Group("a", (1, 2))]),  # the third one is not due yet
        ([silent(1, "a"), silent(2, "a"), alive(3, "b", 19)], [Group("a", (1, 2))]),
        ([silent(1, "a"), silent(2, "b")], []),
        ([silent(1, "a"), silent(2, "b"), silent(3, "c")], [Group("", (1, 2, 3))]),
        ([silent(n, f"h{n}") for n in range(3)] + [alive(9, "x", 19), alive(8, "y", 19)], [Group("", (0, 1, 2))]),
        ([silent(n, f"h{n}") for n in range(3)] + [alive(5 + n, "x", 19) for n in range(3)], []),  # less than half
        ([silent(1, "a"), silent(2, "a"), silent(3, "b"), silent(4, "b")], [Group("", (1, 2, 3, 4))]),
    ],
)
def test_groups(peers: list[Peer], found: list[Group]) -> None:
    silent_ones = [peer for peer in peers if peer.due_at]
    newest = {peer.source: peer.last_beat_at for peer in sorted(peers, key=lambda peer: peer.last_beat_at)}
    assert groups(silent_ones, newest=newest, expected=len(peers)) == found


@pytest.mark.parametrize(
    ("others", "quiet"),
    [
        ([], False),
        ([silent(2, "a")], True),
        ([silent(2, "a", 6)], True),  # late, though not yet silent
        ([silent(2, "a", -900)], False),  # silent long before
        ([alive(2, "a", 4)], False),  # not due yet, so unknown
        ([silent(2, "a"), alive(3, "a", 19)], False),  # the host is fine
    ],
)
def test_quiet_source_is_suspected(others: list[Peer], quiet: bool) -> None:
    assert is_source_quiet(silent(1, "a"), others) is quiet
    assert not is_source_quiet(alive(1, "a", 0), others)
