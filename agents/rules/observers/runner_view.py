"""What a runner observes of an agent. Not a rule itself: evidence for other rules, and part of their reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from agents.domain.notes import BLIND
from agents.rules.evidence import DETAIL, EvidenceLabel, EvidenceLabels
from agents.rules.facts import BeatSeen, Facts, RunnerView

KIND: Final = "outside"
# What is worth mentioning, named as systemd and Docker name it.
RESULT, HEALTH, OUT_OF_MEMORY = "Result", "Health", "OOMKilled"
CODES: Final = ("ExecMainStatus", "ExitCode")
RESTARTS: Final = ("NRestarts", "RestartCount")
# Results and health states that need no mention.
NORMAL: Final = ("success", "healthy", "starting", "none", "")
# For the rules that include it; its contents are shown under the names systemd and Docker use.
EVIDENCE: EvidenceLabels = {"runner": EvidenceLabel("Observed by the runner", DETAIL)}


def read(state: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Keep the last evidence, and the message of a runner that cannot inspect the agent, until one can again."""
    updated = dict(state)
    for beat in beats:
        if beat.note == BLIND:
            updated["blind"] = beat.message
        elif beat.evidence:
            updated.pop("blind", None)
        if beat.evidence:
            updated["evidence"] = dict(beat.evidence)
    return updated


def last_view(state: Mapping[str, Any]) -> RunnerView:
    return RunnerView(evidence=state.get("evidence", {}), blind=state.get("blind", ""))


def evidence(facts: Facts) -> dict[str, Any]:
    """To include in a finding's evidence: `runner`, with what it observed."""
    return {"runner": dict(facts.runner_view.evidence)} if facts.runner_view.evidence else {}


def summary(facts: Facts) -> str:
    """The end of a reason: `; systemd: result watchdog, restarted 3 times`. Empty if there is nothing to mention."""
    seen = facts.runner_view.evidence
    parts = [
        *(f"{name.lower()} {seen[name]}" for name in (RESULT, HEALTH) if str(seen.get(name) or "") not in NORMAL),
        *(["out of memory"] if seen.get(OUT_OF_MEMORY) is True else []),
        *(f"exit code {seen[name]}" for name in CODES if seen.get(name) not in (None, 0, "0", "")),
        *(_restarted(seen[name]) for name in RESTARTS if _count(seen.get(name))),
    ]
    if facts.runner_view.blind:
        parts.append(f"the runner cannot inspect it ({facts.runner_view.blind[:200]})")
    return f"; {facts.row.restart_type or 'the runner'}: {', '.join(parts)}" if parts else ""


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _restarted(count: int) -> str:
    return "restarted once" if count == 1 else f"restarted {count} times"
