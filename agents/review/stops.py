"""When a hold would have stopped an agent, for backtests: in a loop after it was told, over a budget at once."""

from __future__ import annotations

from datetime import datetime
from types import ModuleType
from typing import Any, Final

from agents.domain import signal_kinds
from agents.incidents import nudges
from agents.incidents.nudges import Told
from agents.rules import cost, loop
from agents.rules.facts import CRITICAL, Finding

# Rules with findings that can hold an agent.
HOLDING: Final[tuple[Any, ...]] = (loop, cost)


def can_hold(rule: ModuleType | Any) -> bool:
    return rule in HOLDING


def told(finding: Finding, agent_type: str, now: datetime) -> Told | None:
    """What a nudge would have told the agent, where its door can carry one: at once, as hooks ask at every step."""
    if finding.kind != loop.KIND or agent_type not in nudges.REACHABLE:
        return None
    return Told(now, nudges.count(finding.evidence))


def stops(finding: Finding, agent_type: str, told: Told | None) -> bool:
    """Whether the agent would be on hold now, by what the review and `nudges.holds` decide."""
    if finding.kind == loop.KIND:
        return agent_type not in nudges.REACHABLE or nudges.goes_on(finding.evidence, told)
    return finding.severity == CRITICAL and signal_kinds.traits(finding.kind).is_budget
