"""One tool is called too often within a minute. Off by default: often a false positive for busy agents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from agents.domain import signal_kinds
from agents.rules.evidence import DETAIL, NOWHERE, EvidenceLabel, EvidenceLabels, Setting
from agents.rules.facts import WARNING, BeatSeen, Facts, Finding
from agents.rules.thresholds import Threshold, Thresholds

KIND = "call_rate"
LABEL = "Call rate"
# The retired service's default. Of recorded runs without trouble, 12 % have an agent that calls as often.
CALLS: Final = 10
MINUTE: Final = timedelta(minutes=1)
KEPT: Final = 120
THRESHOLDS: Thresholds = (
    Threshold(
        name="calls",
        kind=int,
        default=CALLS,
        unit="calls per minute",
        minimum=1,
        maximum=KEPT,
        why="12 % of healthy runs are this busy.",
    ),
)

EVIDENCE: EvidenceLabels = {
    "pattern": EvidenceLabel("Pattern", NOWHERE),
    "tool": EvidenceLabel("Tool", NOWHERE),
    "count": EvidenceLabel("Calls", NOWHERE),
    "allowed": EvidenceLabel("Limit", NOWHERE),
    "first_at": EvidenceLabel("First call", DETAIL),
}


class Call(NamedTuple):
    """A tool call as it is stored: when and which."""

    at: str
    tool: str


def allow(evidence: Mapping[str, Any]) -> Setting:
    """More calls."""
    return Setting("Expected? Allow more calls per minute.", "calls")


def read(state: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Keep the names and times of the last minute's calls, at most 120."""
    calls = [Call(*stored) for stored in state.get("calls", ())]
    for beat in beats:
        new = beat.calls if beat.counter is None else beat.calls[-beat.counter :] if beat.counter else ()
        calls += [Call(beat.received_at.isoformat(), str(call.get("name", ""))[:50]) for call in new]
    recent = [list(call) for call in calls if not beats or _is_recent(call, beats[-1].received_at)]
    return {"calls": recent[-KEPT:]}


def check(facts: Facts) -> Finding | None:
    """A warning above `calls` calls of one tool per minute (10)."""
    calls = [call for call in (Call(*stored) for stored in facts.state.get("calls", ())) if _is_recent(call, facts.now)]
    counts = Counter(call.tool for call in calls)
    tool, count = max(counts.items(), key=lambda pair: pair[1], default=("", 0))
    limit = max(1, int(facts.thresholds.get("calls", CALLS)))
    if count <= limit:
        return None
    first_at = next(call.at for call in calls if call.tool == tool)
    return Finding(
        kind=signal_kinds.LOOP,
        severity=WARNING,
        reason=f"`{tool}` called {count} times within a minute (limit: {limit})",
        started_at=datetime.fromisoformat(first_at),
        evidence={"pattern": KIND, "tool": tool, "count": count, "allowed": limit, "first_at": first_at},
    )


def _is_recent(call: Call, now: datetime) -> bool:
    return datetime.fromisoformat(call.at) > now - MINUTE
