"""Who hears of which agents of a project, and where nobody does. Pure: no Django, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from alerts.routing import Listener, why_not

SEVERITIES: Final = ("critical", "warning")


@dataclass(slots=True)
class Audience:
    """Agents that the same channels hear of. `channels` has the ids by severity; `common` are labels they all have.

    `newcomers`: so it is for agents to come, too, which have no labels yet.
    """

    channels: Mapping[str, tuple[int, ...]]
    agents: list[str] = field(default_factory=list)
    common: dict[str, str] = field(default_factory=dict)
    newcomers: bool = False

    @property
    def unheard(self) -> list[str]:
        """The severities that nobody hears of."""
        return [severity for severity in SEVERITIES if not self.channels[severity]]


def audiences(listeners: Sequence[Listener], agents: Iterable[tuple[str, Mapping[str, str]]]) -> list[Audience]:
    """Every agent (name, labels) in exactly one audience; first those with a gap, then the largest."""
    found: dict[tuple[tuple[int, ...], ...], Audience] = {}
    _of(found, listeners, {}).newcomers = True
    for name, labels in agents:
        one = _of(found, listeners, labels)
        one.common = dict(one.common.items() & labels.items()) if one.agents else dict(labels)
        one.agents.append(name)
    return sorted(found.values(), key=lambda one: (-len(one.unheard), -len(one.agents)))


def _of(
    found: dict[tuple[tuple[int, ...], ...], Audience], listeners: Sequence[Listener], labels: Mapping[str, str]
) -> Audience:
    heard = {
        severity: tuple(one.channel_id for one in listeners if not why_not(one, severity, labels))
        for severity in SEVERITIES
    }
    return found.setdefault(tuple(heard.values()), Audience(heard))
