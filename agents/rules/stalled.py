"""Alive without progress: the process reports, the work does not move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from agents.domain.durations import o_clock, spoken
from agents.rules.evidence import DETAIL, EvidenceLabel, EvidenceLabels, Setting
from agents.rules.facts import CRITICAL, BeatSeen, Facts, Finding, since
from agents.rules.observers import runner_view
from agents.rules.thresholds import Threshold, Thresholds

KIND = "stalled"
LABEL = "Stalled"
THRESHOLDS: Thresholds = (
    Threshold(
        "progress_timeout",
        float,
        None,
        "seconds",
        5,
        366 * 86_400,
        "Declared by the client, else learned from its own gaps (at least 300), else 1,800.",
        column=True,
    ),
)
EVIDENCE: EvidenceLabels = {
    "last_progress_at": EvidenceLabel("Last progress"),
    "usual_gap": EvidenceLabel("Usually moves every"),
    "longest_gap": EvidenceLabel("Longest pause of an ordinary day"),
    "timeout": EvidenceLabel("Counts as stalled after"),
    "deadline": EvidenceLabel("Counts as stalled since", DETAIL),
    "last_call": EvidenceLabel("Last tool call", is_code=True),
    "last_call_at": EvidenceLabel("That call began"),
    **runner_view.EVIDENCE,
}
# What our client says it waits for while a tool runs that was given a time.
TOOL = "tool "


def read(memory: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Keep the last tool call and when it began: what goes on, as our client says, else what ended last."""
    last = dict(memory)
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
    """A pause that long."""
    text = "If it may pause that long, give it a longer progress timeout, or let it say what it is waiting for."
    return Setting(text, "progress_timeout")


def check(facts: Facts) -> Finding | None:
    """Critical past the progress clock's deadline, unless the agent is silent altogether or waits as declared."""
    last = facts.seen.last_progress_at
    if facts.progress is None or last is None or facts.now < facts.progress.deadline:
        return None
    if facts.is_silent or facts.is_waiting or facts.is_held or facts.seen.crashed:
        return None
    reason = (
        f"No progress for {spoken(since(last, facts.now))}{_usually(facts)}{_doing(facts)}{runner_view.said(facts)}"
    )
    evidence = {
        "last_progress_at": last.isoformat(),
        "usual_gap": facts.rhythm.usual,
        "longest_gap": facts.rhythm.longest,
        "timeout": round((facts.progress.deadline - last).total_seconds(), 3),
        "deadline": facts.progress.deadline.isoformat(),
        **_last_call(facts),
        **runner_view.evidence(facts),
    }
    return Finding(KIND, CRITICAL, reason, facts.progress.due_at, evidence)


def _usually(facts: Facts) -> str:
    usual = facts.rhythm.usual
    return f"; usually every {spoken(max(1, usual))}" if usual else ""


def _doing(facts: Facts) -> str:
    if not facts.memory.get("call"):
        return ""
    began = datetime.fromisoformat(facts.memory["at"])
    return f"; last: `{facts.memory['call'][:100]}`, started {o_clock(began, facts.zone, facts.now)}"


def _last_call(facts: Facts) -> dict[str, Any]:
    called = facts.memory.get("call")
    return {"last_call": called, "last_call_at": facts.memory["at"]} if called else {}
