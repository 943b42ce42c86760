"""Detects agents that fell silent together: a host, a runner or a network failed, so it is one incident. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

# Silent agents needed to form a group on one source; in a project, this many and more than half of its agents.
MIN_SOURCE: Final = 2
MIN_PROJECT: Final = 3
# Agents report at different moments, so their last heartbeats may be an interval apart, and a little more.
SLACK: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Peer:
    """An agent that should be reporting. `due_at` is set while it is silent past its deadline."""

    agent_id: int
    source: str
    last_beat_at: datetime
    interval: float
    due_at: datetime | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Agents of one project that fell silent together; `source` is empty when only the project is common to them."""

    source: str
    agent_ids: tuple[int, ...]


def suspected_sources(silent: Iterable[Peer]) -> set[str]:
    """The sources of which several agents stopped at about the same time. Whether they still report is to be asked."""
    return {source for source, members in _by_source(silent).items() if _silent(members, MIN_SOURCE)}


def is_project_suspected(silent: Sequence[Peer]) -> bool:
    """Whether so many agents stopped at about the same time that they may be most of their project."""
    return bool(_silent(silent, MIN_PROJECT))


def groups(silent: Sequence[Peer], *, newest: Mapping[str, datetime], expected: int) -> list[Group]:
    """The groups among a project's silent agents. Each agent is in at most one group.

    `newest` is the last heartbeat of each suspected source, `expected` the number of agents that should be reporting,
    silent ones included; twice the number of silent ones is as good as more.
    """
    source_groups = [
        Group(source, ids)
        for source, members in _by_source(silent).items()
        if (ids := _whole_source(members, newest.get(source)))
    ]
    ids = _silent(silent, MIN_PROJECT) if 2 * len(silent) > expected else ()
    silent_sources = {peer.source for peer in silent} if ids else set()
    return [Group("", ids)] if len(silent_sources) > 1 else source_groups


def _by_source(peers: Iterable[Peer]) -> dict[str, list[Peer]]:
    by_source: dict[str, list[Peer]] = defaultdict(list)
    for peer in peers:
        by_source[peer.source].append(peer)
    return by_source


def is_source_quiet(peer: Peer, others: Iterable[Peer]) -> bool:
    """Whether a silent agent's source is the suspect: another agent on it is late, since about the same time.

    `others` share the source and have `due_at` set when late. One that reported later clears the source.
    """
    others, due = list(others), peer.due_at
    if due is None or any(other.last_beat_at > due for other in others):
        return False
    return any(_silent([peer, other], MIN_SOURCE) for other in others)


def _whole_source(silent: Sequence[Peer], newest: datetime | None) -> tuple[int, ...]:
    """The silent agents of a source, unless another one on it still reports: then the source is fine."""
    last_due = max(peer.due_at for peer in silent if peer.due_at is not None)
    return () if newest is not None and newest > last_due else _silent(silent, MIN_SOURCE)


def _silent(peers: Sequence[Peer], least: int) -> tuple[int, ...]:
    """The silent agents, if there are at least `least` and they stopped at about the same time."""
    silent = [peer for peer in peers if peer.due_at is not None]
    if len(silent) < least:
        return ()
    beats = [peer.last_beat_at for peer in silent]
    apart = timedelta(seconds=max(peer.interval for peer in silent)) + SLACK
    return tuple(sorted(peer.agent_id for peer in silent)) if max(beats) - min(beats) <= apart else ()
