"""What a loop leads to, by the thresholds `nudge` and `hold` of its rule: nothing, a word to the agent, a hold.

A word comes first where a door can carry one. Only an agent that goes on after it is held.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from agents import rules
from agents.incidents import events
from agents.models import Agent, IncidentEvent, Signal, SignalKind
from agents.rules import loop

# Types of agents whose door carries a word to the model.
REACHABLE: Final = {"claude-code", "codex", "gemini-cli", "opencode"}
# Of the note on the timeline.
CODE: Final = "nudge"
# A loop this many times as long as an alert needs is held without a word: its door did not ask for one.
TOO_LONG: Final = 3


class Told(NamedTuple):
    """When the agent was told about its loop, and how many calls it had then."""

    at: datetime
    calls: int


def tell(signal: Signal, now: datetime) -> str | None:
    """What to tell the agent about its loop, once per incident; None if it was told before or that is not armed."""
    if not (_armed(signal.agent, loop.NUDGE) or _armed(signal.agent, loop.HOLD)):
        return None
    text = f"Told the agent: {signal.reason}"
    is_new = events.note_once(
        incident=signal.incident, code=CODE, text=text, now=now, data={"count": count(signal.evidence)}
    )
    return _words(signal) if is_new else None


def _words(signal: Signal) -> str:
    return (
        f"ClevAgent Watchdog: you are in a loop. {signal.reason}. Nothing new comes of it. "
        "Do not repeat it: try something else, or say what you need and stop."
    )


def holds(agent: Agent, signals: Iterable[Signal], *, is_held: bool) -> bool:
    """Whether a loop holds the agent. Once held, it stays so until its loop's signal ends, or a person decides."""
    found = next((signal for signal in signals if signal.kind == SignalKind.LOOP), None)
    if found is None or not _armed(agent, loop.HOLD):
        return False
    return is_held or agent.agent_type not in REACHABLE or goes_on(found.evidence, _told(found))


def may_end(agent: Agent, *, is_held: bool) -> bool:
    """Whether a loop ends when no more calls come. A held agent makes none, which proves nothing."""
    return not (is_held and _armed(agent, loop.HOLD))


def _told(signal: Signal) -> Told | None:
    notes = IncidentEvent.objects.filter(incident=signal.incident_id, data__code=CODE)
    found = notes.values_list("at", "data__count").first()
    return Told(*found) if found else None


def goes_on(evidence: Mapping[str, Any], told: Told | None) -> bool:
    """Whether the loop went on after the agent was told, or for too long without. Pure."""
    if evidence.get("laps", 0) >= TOO_LONG * max(1, evidence.get("needed", 1)):
        return True
    if told is None:
        return False
    # One more: calls that ran side by side end after it, too.
    return datetime.fromisoformat(evidence["last_at"]) > told.at and count(evidence) > told.calls + 1


def count(evidence: Mapping[str, Any]) -> int:
    return int(evidence.get("count") or evidence.get("laps") or 0)


def _armed(agent: Agent, threshold: str) -> bool:
    return bool(rules.in_force(loop, agent.project.rules, agent.rules).thresholds.get(threshold))
