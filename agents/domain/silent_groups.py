"""When several agents fall silent at once it is their host, their runner or the network: one incident, not many."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

# Silent agents of one source make a group from so many on; of a whole project, from so many and more than half.
MIN_SOURCE: Final = 2
MIN_PROJECT: Final = 3
# Last beats lie apart by up to an interval, since each agent beats at its own moment, and a little more.
SLACK: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Peer:
    """An agent that is expected to report. `due_at` is set when it is silent past its deadline."""

    agent_id: int
    source: str
    last_beat_at: datetime
    interval: float
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Agents of one project that fell silent together; `source` is empty when they share nothing but the project."""

    source: str
    agent_ids: tuple[int, ...]


def groups(peers: Iterable[Peer]) -> list[Group]:
    """The groups among a project's agents. An agent stands in one group at most."""
    peers = list(peers)
    by_source: dict[str, list[Peer]] = defaultdict(list)
    for peer in peers:
        by_source[peer.source].append(peer)
    found = [Group(source, ids) for source, some in by_source.items() if (ids := _all_silent(some))]
    ids = _mostly_silent(peers)
    silent_sources = {peer.source for peer in peers if peer.agent_id in ids}
    return [Group("", ids)] if len(silent_sources) > 1 else found


def is_source_quiet(peer: Peer, others: Iterable[Peer]) -> bool:
    """Whether a silent agent's source is suspected rather than itself: another one of it is late, since the same time.

    Of `others` of its source `due_at` is set when they are late. One that went on clears the source.
    """
    others, due = list(others), peer.due_at
    if due is None or any(one.last_beat_at > due for one in others):
        return False
    return any(_silent([peer, one], MIN_SOURCE) for one in others)


def _all_silent(peers: Sequence[Peer]) -> tuple[int, ...]:
    """The silent ones of a source, unless one beside them goes on: then the source is well and they are not."""
    silent = _silent(peers, MIN_SOURCE)
    last_due = max((peer.due_at for peer in peers if peer.due_at is not None), default=None)
    goes_on = any(peer.due_at is None and last_due is not None and peer.last_beat_at > last_due for peer in peers)
    return () if goes_on else silent


def _mostly_silent(peers: Sequence[Peer]) -> tuple[int, ...]:
    """The silent ones of a project, if they are more than half of it."""
    silent = _silent(peers, MIN_PROJECT)
    return silent if 2 * len(silent) > len(peers) else ()


def _silent(peers: Sequence[Peer], least: int) -> tuple[int, ...]:
    """The silent ones, if they are enough and stopped within seconds of each other."""
    silent = [peer for peer in peers if peer.due_at is not None]
    if len(silent) < least:
        return ()
    beats = [peer.last_beat_at for peer in silent]
    apart = timedelta(seconds=max(peer.interval for peer in silent)) + SLACK
    return tuple(sorted(peer.agent_id for peer in silent)) if max(beats) - min(beats) <= apart else ()
