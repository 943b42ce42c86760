"""Which channels cover which agents of a project, and what reaches nobody. Pure: no Django, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from alerts.routing import Subscriber, explain_mismatch

SEVERITIES: Final = ("critical", "warning")


@dataclass(slots=True)
class CoverageGroup:
    """Agents covered by the same channels.

    `channels` maps severity to channel ids, `common` are the labels that all agents share. `includes_new_agents`:
    future agents, which have no labels yet, belong to this group.
    """

    channels: Mapping[str, tuple[int, ...]]
    agents: list[str] = field(default_factory=list)
    common: dict[str, str] = field(default_factory=dict)
    includes_new_agents: bool = False

    @property
    def uncovered(self) -> list[str]:
        """Severities that reach nobody."""
        return [severity for severity in SEVERITIES if not self.channels[severity]]


def group_by_coverage(
    subscribers: Sequence[Subscriber], agents: Iterable[tuple[str, Mapping[str, str]]]
) -> list[CoverageGroup]:
    """Every agent (name, labels) in exactly one group; groups with gaps first, then the largest."""
    groups: dict[tuple[tuple[int, ...], ...], CoverageGroup] = {}

    def group_for(labels: Mapping[str, str]) -> CoverageGroup:
        channels = _covering(subscribers, labels)
        return groups.setdefault(tuple(channels.values()), CoverageGroup(channels))

    group_for({}).includes_new_agents = True
    for name, labels in agents:
        group = group_for(labels)
        group.common = dict(group.common.items() & labels.items()) if group.agents else dict(labels)
        group.agents.append(name)
    return sorted(groups.values(), key=lambda group: (-len(group.uncovered), -len(group.agents)))


def _covering(subscribers: Sequence[Subscriber], labels: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
    return {
        severity: tuple(each.channel_id for each in subscribers if not explain_mismatch(each, severity, labels))
        for severity in SEVERITIES
    }
