"""One tool called too often within a minute, whatever for. Off unless switched on: busy is not stuck."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from agents.domain import signal_kinds
from agents.rules.evidence import DETAIL, NOWHERE, EvidenceLabel, EvidenceLabels, Setting
from agents.rules.facts import WARNING, BeatSeen, Facts, Finding
from agents.rules.thresholds import Threshold, Thresholds

KIND = "call_rate"
LABEL = "Call rate"
# The default of the retired service. On recorded good runs 12 % of the agents are as busy as that.
CALLS = 10
MINUTE = timedelta(minutes=1)
KEPT = 120
THRESHOLDS: Thresholds = (
    Threshold("calls", int, CALLS, "calls", 1, KEPT, "The retired service's default; 12 % of good runs are as busy."),
)

EVIDENCE: EvidenceLabels = {
    "pattern": EvidenceLabel("Pattern", NOWHERE),
    "tool": EvidenceLabel("Tool", NOWHERE),
    "count": EvidenceLabel("Calls", NOWHERE),
    "allowed": EvidenceLabel("Allowed", NOWHERE),
    "first_at": EvidenceLabel("First of them", DETAIL),
}


def allow(evidence: Mapping[str, Any]) -> Setting:
    """So many calls."""
    return Setting("If it may be as busy as that, allow it more calls a minute.", "calls")


def read(memory: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Keep the names and times of the last minute's calls, at most 120."""
    calls = [tuple(call) for call in memory.get("calls", ())]
    for beat in beats:
        new = beat.calls if beat.counter is None else beat.calls[-beat.counter :] if beat.counter else ()
        calls += [(beat.received_at.isoformat(), str(call.get("name", ""))[:50]) for call in new]
    since = beats[-1].received_at - MINUTE if beats else None
    recent = [list(call) for call in calls if since is None or datetime.fromisoformat(call[0]) > since]
    return {"calls": recent[-KEPT:]}


def check(facts: Facts) -> Finding | None:
    """A warning from more than `calls` calls of one tool a minute on (10; at most 120 are counted)."""
    times = {name: at for at, name in reversed(facts.memory.get("calls", ())) if _is_recent(at, facts.now)}
    counts = Counter(name for at, name in facts.memory.get("calls", ()) if _is_recent(at, facts.now))
    tool, count = max(counts.items(), key=lambda pair: pair[1], default=("", 0))
    most = max(1, int(facts.thresholds.get("calls", CALLS)))
    if count <= most:
        return None
    evidence = {"pattern": KIND, "tool": tool, "count": count, "allowed": most, "first_at": times[tool]}
    reason = f"`{tool}` called {count} times within a minute; {most} are allowed"
    return Finding(signal_kinds.LOOP, WARNING, reason, datetime.fromisoformat(times[tool]), evidence)


def _is_recent(at: str, now: datetime) -> bool:
    return datetime.fromisoformat(at) > now - MINUTE
