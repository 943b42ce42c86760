"""What an agent said and did last before its incident, and how its process ended. Reads, never writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

from agents.domain import signal_kinds
from agents.models import Incident, Signal
from agents.reporting import history, recent
from agents.reporting.recent import Activity
from agents.rules import crash
from agents.rules.observers import runner_view

# Between two heartbeats of an agent its runner may send many, which are left out.
BEATS_READ: Final = 60


def activity(incident: Incident, signals: Iterable[Signal], now: datetime) -> Activity:
    """What it did last before it stopped working; of an agent that goes on, what it did last by `now`. One query, or
    two. `signals` are all of the incident's.
    """
    state, stop = incident.agent.state, _last_stop(incident, signals)
    if stop is None:
        return recent.activity(history.telling_beats(state, incident.resolved_at or now, BEATS_READ))
    since = _last_sign(stop) - history.RECENT
    return recent.activity(history.telling_beats(state, stop.opened_at, BEATS_READ, since))


def exit_reason(incident: Incident, signals: Iterable[Signal]) -> str:
    """`KeyError: 'title', exit code 1`; empty if nobody reported how it ended."""
    own = [signal for signal in signals if signal.agent_id == incident.agent_id]
    return ", ".join(dict.fromkeys(part for signal in own for part in _end_parts(signal) if part))


def _end_parts(signal: Signal) -> Iterator[str]:
    if signal.kind == crash.KIND:
        yield str(signal.evidence.get("message", ""))
    if signal.kind == crash.KIND or signal.evidence.get("by_runner"):
        yield runner_view.exit_reason(signal.evidence.get("runner") or {})


def _last_stop(incident: Incident, signals: Iterable[Signal]) -> Signal | None:
    """The signal by which it last stopped working: after a restart it may have failed again."""
    stops = [
        signal
        for signal in signals
        if signal.agent_id == incident.agent_id and signal_kinds.traits(signal.kind).stops_work
    ]
    return max(stops, key=lambda signal: signal.opened_at, default=None)


def _last_sign(stop: Signal) -> datetime:
    """Of a silent agent, which may report once a month, or one without progress for days; else when it was opened."""
    text = stop.evidence.get("last_heartbeat_at") or stop.evidence.get("last_progress_at")
    return datetime.fromisoformat(text) if text else stop.opened_at
