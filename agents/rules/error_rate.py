"""An unusual share of the agent's heartbeats report errors. A single good heartbeat doesn't end it.

Compares the agent's last 40 heartbeats with those before them. The limit is what chance would rarely reach: five
standard deviations and four errors above the expected number, at least five errors. While little is known, one error
in 50 heartbeats is taken as usual. Over when half as many are left.

State: 200 bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import sqrt
from typing import Any, Final

from agents.domain import signal_kinds
from agents.domain.notes import BLIND, DYING, EXPECTED, OUTDATED, RUNNER_SAYS_DOWN
from agents.rules.evidence import NOWHERE, EvidenceLabel, EvidenceLabels, Setting
from agents.rules.facts import WARNING, BeatSeen, Facts, Finding
from agents.rules.thresholds import Threshold, Thresholds

KIND = "error_rate"
LABEL = "High error rate"
WINDOW: Final = 40
THRESHOLDS: Thresholds = (
    Threshold(
        name="errors",
        kind=int,
        unit="of 40 heartbeats",
        minimum=1,
        maximum=WINDOW,
        why="An unusual number for this agent, e.g. 7 if 1 in 200 is usual; 10 until its usual rate is known.",
    ),
)
EVIDENCE: EvidenceLabels = {
    "errors": EvidenceLabel("Errors", NOWHERE),
    "heartbeats": EvidenceLabel("Heartbeats", NOWHERE),
    "last_error": EvidenceLabel("Last error"),
}
MIN_ERRORS: Final = 5
DEVIATIONS: Final = 5.0
MARGIN: Final = 4.0
# The prior, before anything is known: one error in so many heartbeats.
PRIOR: Final = 50
# Heartbeats after which the counts are halved, so that the usual share follows the agent.
USUAL_KEPT: Final = 4_000
NOT_ITS_OWN: Final = (EXPECTED, DYING, BLIND, OUTDATED)


def read(state: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Keep the last heartbeats, one letter each, and counts of those before; shutdowns and runners do not count."""
    updated = dict(state)
    for beat in beats:
        if beat.status != "shutdown" and not _is_runners(beat):
            _count(updated, beat)
    return updated


def allow(evidence: Mapping[str, Any]) -> Setting:
    """More errors."""
    return Setting("Expected? Set how many errors should alert.", "errors")


def check(facts: Facts) -> Finding | None:
    """A warning while more of the last heartbeats than usual, or than `errors`, are errors."""
    state, limit = facts.state, facts.thresholds.get("errors")
    recent = state.get("recent", "")
    count = recent.count("e")
    if not (state.get("since") if limit is None else count >= limit):
        return None
    return Finding(
        kind=signal_kinds.ERROR,
        severity=WARNING,
        reason=f"{count} of the last {len(recent)} heartbeats were errors{_usually(state)}",
        started_at=datetime.fromisoformat(state.get("since") or state["first"]),
        evidence={"errors": count, "heartbeats": len(recent), "last_error": state["last"]},
    )


def _is_runners(beat: BeatSeen) -> bool:
    """Whether a runner sent it: while a target is down it repeats that every ten seconds, which is one error."""
    says_down = beat.message.startswith(RUNNER_SAYS_DOWN) or " is not responding" in beat.message
    return beat.note in NOT_ITS_OWN or bool(beat.evidence) or (beat.status == "error" and says_down)


def _count(state: dict[str, Any], beat: BeatSeen) -> None:
    recent, is_error = state.get("recent", ""), beat.status == "error"
    if len(recent) == WINDOW:
        _count_usual(state, was_error=recent[0] == "e")
    state["recent"] = (recent + ("e" if is_error else "."))[-WINDOW:]
    if is_error:
        state["last"] = beat.message[:200]
        state["first"] = state.get("first") or beat.received_at.isoformat()
    _judge(state, beat.received_at)


def _count_usual(state: dict[str, Any], *, was_error: bool) -> None:
    """Add a heartbeat that leaves the window to the usual share."""
    state["known"] = state.get("known", 0) + 1
    state["wrong"] = state.get("wrong", 0) + was_error
    if state["known"] >= USUAL_KEPT:
        state["known"], state["wrong"] = state["known"] // 2, state["wrong"] // 2


def _judge(state: dict[str, Any], at: datetime) -> None:
    count, limit = state["recent"].count("e"), _limit(state)
    if count >= limit and not state.get("since"):
        state["since"] = at.isoformat()
    elif count <= limit / 2:
        state.pop("since", None)
    if not count:
        state.pop("first", None)


def _limit(state: Mapping[str, Any]) -> float:
    """How many errors in the window are unusual."""
    usual: float = (state.get("wrong", 0) + 1) / (state.get("known", 0) + PRIOR)
    expected = WINDOW * usual
    return max(MIN_ERRORS, expected + DEVIATIONS * sqrt(expected) + MARGIN)


def _usually(state: Mapping[str, Any]) -> str:
    known, wrong = state.get("known", 0), state.get("wrong", 0)
    if known < PRIOR:
        return ""
    return f"; usually 1 in {known / wrong:,.0f}" if wrong else f"; none of the {known:,} before"
