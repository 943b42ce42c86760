"""Who is told what, and when. Pure: no Django, no clock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from teams.labels import format_phrase

WARNING: Final = "warning"
# Events that say that something is wrong. Recovery is told only to those who were told one of these.
FAILURES: Final = frozenset({"opened", "updated", "reopened"})
TOLD: Final = FAILURES | {"acknowledged", "resolved"}
# An incident that came back before may do so again: its recovery waits this long before it is told.
SETTLING: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Listener:
    """A channel as routing sees it.

    `severity` is the least it wants to hear of, `labels` what an agent must have for it.
    `wants_acknowledged`: whether its kind tells who takes care. `knows`: it was told that this incident is wrong.
    `unaware`: the last recovery never reached it, so for its readers the incident never ended.
    """

    channel_id: int
    wants_acknowledged: bool = False
    knows: bool = False
    unaware: bool = False
    severity: str = WARNING
    labels: Mapping[str, str] = field(default_factory=dict)


def is_told(event: str, listener: Listener, severity: str, agents: Sequence[Mapping[str, str]]) -> bool:
    """Whether an event of an incident goes to this listener. `agents` are the labels of each agent that it is about.

    Who was told of an incident hears how it goes on, whatever the route is by now.
    """
    if event in FAILURES and not (listener.knows or _is_routed(listener, severity, agents)):
        return False
    if event == "reopened":
        return not listener.unaware
    if event == "acknowledged":
        return listener.knows and listener.wants_acknowledged
    if event == "resolved":
        return listener.knows
    return event in FAILURES


def _is_routed(listener: Listener, severity: str, agents: Sequence[Mapping[str, str]]) -> bool:
    # An agent without labels stands for all where the channel wants none.
    return any(not why_not(listener, severity, labels) for labels in agents or [{}])


def why_not(listener: Listener, severity: str, labels: Mapping[str, str]) -> str:
    """Why something that goes wrong with an agent is not told to this listener, for a person; empty when it is."""
    if listener.severity != WARNING and severity != listener.severity:
        return f"hears only what is {listener.severity}"
    if not listener.labels.items() <= labels.items():
        return f"hears only of agents with {format_phrase(listener.labels)}"
    return ""


def in_words(severity: str, labels: Mapping[str, str]) -> str:
    """A route as a person says it: `what is critical, of agents with env=prod`."""
    what = "everything" if severity == WARNING else f"only what is {severity}"
    return f"{what}, of agents with {format_phrase(labels)}" if labels else f"{what}, of all agents"


def not_before(event: str, reopened: int, at: datetime) -> datetime:
    """The earliest time to tell it; `reopened` is how often the incident came back so far."""
    return at + SETTLING if event == "resolved" and reopened else at
