"""Many of an agent's heartbeats are errors, though not all: each one is over with the next good one, the many are not.

The last 40 of the agent's own heartbeats are counted against those before them. Told is what chance would make of the
usual share once in very long: five standard deviations and four errors above what is expected, and at least five
errors; where little is known, one in 50 is taken for usual. Over when half as many are left.

Memory: 200 bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import sqrt
from typing import Any, Final

from agents.domain import signal_kinds
from agents.domain.notes import BLIND, DYING, EXPECTED, RUNNER_SAYS_DOWN
from agents.rules.evidence import NOWHERE, EvidenceLabel, EvidenceLabels, Setting
from agents.rules.facts import WARNING, BeatSeen, Facts, Finding
from agents.rules.thresholds import Threshold, Thresholds

KIND = "error_rate"
LABEL = "Many errors"
WINDOW: Final = 40
THRESHOLDS: Thresholds = (
    Threshold(
        "errors",
        int,
        None,
        "of 40 heartbeats",
        1,
        WINDOW,
        "What is unusual for the agent: 7 where 1 in 200 is usual, 10 where nothing is known yet.",
    ),
)
EVIDENCE: EvidenceLabels = {
    "errors": EvidenceLabel("Errors", NOWHERE),
    "heartbeats": EvidenceLabel("Heartbeats", NOWHERE),
    "last_error": EvidenceLabel("Last error"),
}
LEAST: Final = 5
DEVIATIONS: Final = 5.0
MORE: Final = 4.0
# What is taken for usual before anything is known, as so many heartbeats with one error.
PRIOR: Final = 50
# The usual share forgets what is older than some thousands.
USUAL_KEPT: Final = 4_000
NOT_ITS_OWN: Final = (EXPECTED, DYING, BLIND)


def read(memory: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Keep the last heartbeats, one letter each, and counts of those before. Goodbyes and runners' are not counted."""
    state = dict(memory)
    for beat in beats:
        if beat.status != "shutdown" and not _is_runners(beat):
            _count(state, beat)
    return state


def allow(evidence: Mapping[str, Any]) -> Setting:
    """That many errors."""
    return Setting("If that many errors are ordinary, say from how many on it is to be told.", "errors")


def check(facts: Facts) -> Finding | None:
    """A warning while more of the last heartbeats are errors than usual, or than `errors`."""
    recent, most = facts.memory.get("recent", ""), facts.thresholds.get("errors")
    count = recent.count("e")
    if not (facts.memory.get("since") if most is None else count >= most):
        return None
    reason = f"{count} of the last {len(recent)} heartbeats were errors{_usually(facts.memory)}"
    since = facts.memory.get("since") or facts.memory["first"]
    evidence = {"errors": count, "heartbeats": len(recent), "last_error": facts.memory["last"]}
    return Finding(signal_kinds.ERROR, WARNING, reason, datetime.fromisoformat(since), evidence)


def _is_runners(beat: BeatSeen) -> bool:
    """Whether a runner says it: what stands still says so every ten seconds, and nothing else of the agent counts."""
    says_down = beat.message.startswith(RUNNER_SAYS_DOWN) or " is not responding" in beat.message
    return beat.note in NOT_ITS_OWN or bool(beat.evidence) or (beat.status == "error" and says_down)


def _count(state: dict[str, Any], beat: BeatSeen) -> None:
    recent, is_error = state.get("recent", ""), beat.status == "error"
    if len(recent) == WINDOW:
        state["known"] = state.get("known", 0) + 1
        state["wrong"] = state.get("wrong", 0) + (recent[0] == "e")
        if state["known"] >= USUAL_KEPT:
            state["known"], state["wrong"] = state["known"] // 2, state["wrong"] // 2
    state["recent"] = (recent + ("e" if is_error else "."))[-WINDOW:]
    if is_error:
        state["last"] = beat.message[:200]
        state["first"] = state.get("first") or beat.received_at.isoformat()
    _judge(state, beat.received_at)


def _judge(state: dict[str, Any], at: datetime) -> None:
    count, most = state["recent"].count("e"), _most(state)
    if count >= most and not state.get("since"):
        state["since"] = at.isoformat()
    elif count <= most / 2:
        state.pop("since", None)
    if not count:
        state.pop("first", None)


def _most(state: Mapping[str, Any]) -> float:
    """How many errors among the last heartbeats are unusual."""
    usual: float = (state.get("wrong", 0) + 1) / (state.get("known", 0) + PRIOR)
    expected = WINDOW * usual
    return max(LEAST, expected + DEVIATIONS * sqrt(expected) + MORE)


def _usually(memory: Mapping[str, Any]) -> str:
    known, wrong = memory.get("known", 0), memory.get("wrong", 0)
    if known < PRIOR:
        return ""
    return f"; usually 1 in {known / wrong:,.0f}" if wrong else f"; none of the {known:,} before"
