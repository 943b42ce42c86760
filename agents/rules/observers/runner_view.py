"""What a runner observes of an agent. Not a rule itself: evidence for other rules, and part of their reasons."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from agents.domain.notes import BLIND
from agents.rules.evidence import DETAIL, EvidenceLabel, EvidenceLabels
from agents.rules.facts import BeatSeen, Facts, RunnerView

KIND: Final = "outside"
# What is worth mentioning, named as systemd, Docker, Kubernetes and launchd name it.
RESULT, HEALTH, OUT_OF_MEMORY, LAST_REASON = "Result", "Health", "OOMKilled", "lastState.reason"
CODES: Final = ("ExecMainStatus", "ExitCode", "lastState.exitCode", "last_exit_code")
# Results for which systemd gives a signal's number in place of an exit code.
BY_SIGNAL: Final = ("signal", "core-dump", "watchdog", "timeout", "oom-kill")
# A shell's, Docker's and Kubernetes' code for a process that a signal ended is this and the signal's number.
SIGNALLED: Final = 128
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
        *(f"{name.lower()} {seen[name]}" for name in (RESULT, HEALTH) if _is_notable(seen.get(name))),
        *_end(seen),
        *(_restarted(seen[name]) for name in RESTARTS if _count(seen.get(name))),
    ]
    if facts.runner_view.blind:
        parts.append(f"the runner cannot inspect it ({facts.runner_view.blind[:200]})")
    return f"; {facts.row.restart_type or 'the runner'}: {', '.join(parts)}" if parts else ""


def exit_reason(seen: Mapping[str, Any]) -> str:
    """How a process ended, as its runner saw it: `out of memory, exit code 137 (SIGKILL)`. Empty if it says nothing."""
    result = seen.get(RESULT)
    return ", ".join([*([f"result {result}"] if _is_notable(result) else []), *_end(seen)])


def _is_notable(value: Any) -> bool:
    return str(value or "") not in NORMAL


def _end(seen: Mapping[str, Any]) -> Iterator[str]:
    """Why and with which code it ended."""
    if seen.get(OUT_OF_MEMORY) is True or seen.get(LAST_REASON) == OUT_OF_MEMORY:
        yield "out of memory"
    by_signal = seen.get(RESULT) in BY_SIGNAL
    yield from (_code(seen[name], by_signal=by_signal) for name in CODES if seen.get(name) not in (None, 0, "0", ""))


def _code(code: Any, *, by_signal: bool) -> str:
    """`exit code 1`, `exit code 137 (SIGKILL)` or `signal 9 (SIGKILL)`."""
    number = int(code) if str(code).lstrip("-").isdecimal() else None
    if number is None:
        return f"exit code {code}"
    if by_signal or number < 0:
        return f"signal {abs(number)}{_signal_name(abs(number))}"
    return f"exit code {number}{_signal_name(number - SIGNALLED)}"


def _signal_name(number: int) -> str:
    with suppress(ValueError):
        return f" ({signal.Signals(number).name})"
    return ""


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _restarted(count: int) -> str:
    return "restarted once" if count == 1 else f"restarted {count} times"
