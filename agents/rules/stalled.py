"""Alive without progress: the process reports, but its work doesn't advance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from agents.domain.durations import spoken, time_of_day
from agents.rules.evidence import DETAIL, EvidenceLabel, EvidenceLabels, Setting
from agents.rules.facts import CRITICAL, BeatSeen, Facts, Finding, since
from agents.rules.observers import runner_view
from agents.rules.thresholds import Threshold, Thresholds

KIND = "stalled"
LABEL = "Stalled"
THRESHOLDS: Thresholds = (
    Threshold(
        name="progress_timeout",
        kind=float,
        unit="seconds",
        minimum=5,
        maximum=366 * 86_400,
        why="Declared by the client, else learned from its own gaps (at least 300), else 1,800.",
        column=True,
    ),
)
EVIDENCE: EvidenceLabels = {
    "last_progress_at": EvidenceLabel("Last progress"),
    "usual_gap": EvidenceLabel("Typical progress every"),
    "longest_gap": EvidenceLabel("Longest gap (typical day)"),
    "timeout": EvidenceLabel("Progress timeout"),
    "deadline": EvidenceLabel("Stalled since", DETAIL),
    "last_call": EvidenceLabel("Last tool call", is_code=True),
    "last_call_at": EvidenceLabel("Call started"),
    **runner_view.EVIDENCE,
}
# How our client declares that it waits for a tool call with a time limit.
TOOL: Final = "tool "


def read(state: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Keep the last tool call and when it began: the one in progress if our client sends it, else the last finished."""
    last = dict(state)
    for beat in beats:
        for call in beat.calls[-1:]:
            began = beat.received_at - timedelta(milliseconds=call.get("ms") or 0)
            last = {"call": call.get("name", ""), "at": began.isoformat()}
        if beat.waiting.startswith(TOOL) and beat.waiting.removeprefix(TOOL) != last.get("runs"):
            name = beat.waiting.removeprefix(TOOL)
            last = {"call": name, "runs": name, "at": beat.received_at.isoformat()}
        if beat.doing:
            last = {"call": beat.doing["tool"], "at": beat.doing["since"], "runs": last.get("runs", "")}
    return last


def allow(evidence: Mapping[str, Any]) -> Setting:
    """A longer pause."""
    text = "Expected? Increase the progress timeout, or let the agent declare what it is waiting for."
    return Setting(text, "progress_timeout")


def check(facts: Facts) -> Finding | None:
    """Critical past the progress deadline, unless the agent is silent altogether or waits as declared."""
    last = facts.row.last_progress_at
    if facts.progress is None or last is None or facts.now < facts.progress.deadline:
        return None
    if facts.is_silent or facts.is_waiting or facts.is_held or facts.row.crashed:
        return None
    return Finding(
        kind=KIND,
        severity=CRITICAL,
        reason=(
            f"No progress for {spoken(since(last, facts.now))}"
            f"{_usually(facts)}{_last_call_text(facts)}{runner_view.summary(facts)}"
        ),
        started_at=facts.progress.due_at,
        evidence={
            "last_progress_at": last.isoformat(),
            "usual_gap": facts.rhythm.usual,
            "longest_gap": facts.rhythm.longest,
            "timeout": round((facts.progress.deadline - last).total_seconds(), 3),
            "deadline": facts.progress.deadline.isoformat(),
            **_last_call(facts),
            **runner_view.evidence(facts),
        },
    )


def _usually(facts: Facts) -> str:
    usual = facts.rhythm.usual
    return f"; usually every {spoken(max(1, usual))}" if usual else ""


def _last_call_text(facts: Facts) -> str:
    if not facts.state.get("call"):
        return ""
    began = datetime.fromisoformat(facts.state["at"])
    return f"; last: `{facts.state['call'][:100]}`, started {time_of_day(began, facts.zone, facts.now)}"


def _last_call(facts: Facts) -> dict[str, Any]:
    call = facts.state.get("call")
    return {"last_call": call, "last_call_at": facts.state["at"]} if call else {}
