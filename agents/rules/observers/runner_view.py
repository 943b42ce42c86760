"""What a runner sees of an agent from outside. No rule of its own: evidence for others, and half a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agents.domain.notes import BLIND
from agents.rules.evidence import DETAIL, EvidenceLabel, EvidenceLabels
from agents.rules.facts import BeatSeen, Facts, Outside

KIND = "outside"
# What is worth saying, under the names that systemd and Docker have for it, and when it is nothing special.
RESULT, HEALTH, MEMORY = "Result", "Health", "OOMKilled"
CODES = ("ExecMainStatus", "ExitCode")
RESTARTS = ("NRestarts", "RestartCount")
# For the rules whose evidence it joins; what is in it is known by the names that the runner's own world has.
EVIDENCE: EvidenceLabels = {"runner": EvidenceLabel("What its runner sees", DETAIL)}
WELL = ("success", "healthy", "starting", "none", "")


def read(memory: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Keep the last evidence, and the words of a runner that cannot look, until one can again."""
    known = dict(memory)
    for beat in beats:
        if beat.note == BLIND:
            known["blind"] = beat.message
        elif beat.evidence:
            known.pop("blind", None)
        if beat.evidence:
            known["evidence"] = dict(beat.evidence)
    return known


def of(memory: Mapping[str, Any]) -> Outside:
    """What is remembered, as rules see it."""
    return Outside(memory.get("evidence", {}), memory.get("blind", ""))


def evidence(facts: Facts) -> dict[str, Any]:
    """What another rule's evidence gains: `runner`, with what it saw."""
    return {"runner": dict(facts.outside.evidence)} if facts.outside.evidence else {}


def said(facts: Facts) -> str:
    """For the end of a reason: `; systemd: result watchdog, restarted 3 times`. Empty when there is nothing to say."""
    found = facts.outside.evidence
    words = [
        *(f"{name.lower()} {found[name]}" for name in (RESULT, HEALTH) if str(found.get(name) or "") not in WELL),
        *(["out of memory"] if found.get(MEMORY) is True else []),
        *(f"exit code {found[name]}" for name in CODES if found.get(name) not in (None, 0, "0", "")),
        *(_times(found[name]) for name in RESTARTS if _count(found.get(name))),
    ]
    if facts.outside.blind:
        words.append(f"the runner cannot look ({facts.outside.blind[:200]})")
    return f"; {facts.seen.restart_type or 'the runner'}: {', '.join(words)}" if words else ""


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _times(count: int) -> str:
    return "restarted once" if count == 1 else f"restarted {count} times"
