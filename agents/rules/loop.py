"""The same again and again: calls, cycles of calls, failures or words that bring nothing new.

`agents/loops/` holds the detector: keys, symbols, what repeats, and what that means. Its numbers stand in
`agents/rules/loops/classification.py` with their sources. Thresholds: `repeats`, equal laps from which on it is a loop;
`budget:TOOL`, the same for one tool; `poller:TOOL`, true or false: whether asking the same again is what it is for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from agents.domain.durations import spoken
from agents.rules.cost import dollars
from agents.rules.evidence import DETAIL, NOWHERE, SECONDS, TEXT, EvidenceLabel, EvidenceLabels, Setting
from agents.rules.facts import BeatSeen, Facts, Finding, since
from agents.rules.loops import classification, patterns, reading
from agents.rules.loops.classification import INFO, Classification
from agents.rules.loops.state import Shown, State
from agents.rules.loops.symbols import RESULT, SAID
from agents.rules.thresholds import Threshold, Thresholds

KIND = "loop"
LABEL = "Loop"
THRESHOLDS: Thresholds = (
    Threshold("repeats", int, None, "laps", 2, 1_000, "By what repeats (see docs/rules.md): 4 for one call in a row."),
    Threshold("budget:TOOL", int, None, "laps", 2, 10_000, "None: a tool has the same limit as the others."),
    Threshold("poller:TOOL", bool, None, "", 0, 1, "Known by the tool's name: `get_status`, `wait` and the like poll."),
)
WHAT_REPEATS: Final = {
    patterns.CYCLE: "the same calls in turn",
    patterns.OFTEN: "one call, with others between",
    patterns.STUBBORN: "one call, whatever it returns",
    patterns.STALE: "calls that were all made before",
    patterns.THRASH: "one tool that fails",
    "words": "what it says",
    "polling": "asking whether something is done",
}
EVIDENCE: EvidenceLabels = {
    "last_at": EvidenceLabel("Last of them"),
    "lap_gap": EvidenceLabel("Once every"),
    "same_result": EvidenceLabel("Results", values={True: "the same each time", False: "not always the same"}),
    "tokens": EvidenceLabel("Used by it", unit="tokens"),
    "cost_usd": EvidenceLabel("Cost of it"),
    "args": EvidenceLabel("Arguments of the last call", TEXT),
    "pattern": EvidenceLabel("What repeats", DETAIL, values=WHAT_REPEATS),
    "tools": EvidenceLabel("Tools", DETAIL, is_code=True),
    "exact": EvidenceLabel("Arguments", DETAIL, values={True: "exactly the same", False: "nearly the same"}),
    "period": EvidenceLabel("Calls in a lap", DETAIL),
    "laps": EvidenceLabel("Repeated", DETAIL, "times"),
    "count": EvidenceLabel("Calls that count", DETAIL),
    "needed": EvidenceLabel("Told from", DETAIL, "times"),
    "first_at": EvidenceLabel("First of them", DETAIL),
    "seconds": EvidenceLabel("Going on for", DETAIL, SECONDS),
    "silence": EvidenceLabel("What would silence it", NOWHERE),
}
# Nothing of it came for so long, seconds and laps: it is over although nothing else came either.
QUIET: Final = 600.0
QUIET_LAPS: Final = 3
MAX_CALL_LENGTH: Final = 200


def read(memory: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Take new heartbeats in. A new process, another run or task and a person's turn begin anew."""
    return reading.read(State.of(memory), beats).as_json()


def allow(evidence: Mapping[str, Any]) -> Setting:
    """Going round like that."""
    tools, twice = evidence.get("tools") or (), 2 * evidence.get("laps", 0)
    if not tools:
        return Setting(f"If it may repeat itself, allow it more: set `repeats` to {twice}, say.", "repeats")
    if evidence.get("pattern") == "polling":
        text = f"If it may ask for that long, give `{tools[-1]}` a budget of its own: {twice} laps, say."
        return Setting(text, "budget:TOOL")
    text = f"If asking the same again is what `{tools[-1]}` is for, say that it polls, or give it a budget of its own."
    return Setting(text, "poller:TOOL")


def check(facts: Facts) -> Finding | None:
    """A warning, or critical when it went on for twice as long and cost much; over after 8 other symbols or silence."""
    found = standing(facts.memory, facts.thresholds)
    if facts.is_stopped or found is None or found.severity == INFO:
        return None
    evidence = found.evidence
    quiet = max(QUIET, QUIET_LAPS * evidence["lap_gap"])
    return None if since(datetime.fromisoformat(evidence["last_at"]), facts.now) > quiet else found


def standing(memory: Mapping[str, Any], thresholds: Mapping[str, Any]) -> Finding | None:
    """What repeats just now, also what is no alarm (severity `info`): polling, schedules, back-off."""
    found = classification.worst(State.of(memory), thresholds)
    return _finding(found) if found else None


def step(
    memory: Mapping[str, Any], beat: BeatSeen, thresholds: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], list[Finding]]:
    """One heartbeat: what is remembered after it, and what goes on in it. For replays of recorded runs."""
    before = State.of(memory).now
    state = reading.read(State.of(memory), [beat])
    judged = [
        classification.judge(one, state, thresholds or {}) for one in state.found.values() if one.last.at > before.at
    ]
    return state.as_json(), [_finding(one) for one in judged if one is not None]


def dismissed(memory: Mapping[str, Any], evidence: Mapping[str, Any]) -> dict[str, Any]:
    """The state after a person resolved it: repetitions up to now no longer count."""
    return State.of(memory).fresh().as_json()


def _finding(found: Classification) -> Finding:
    pattern = found.pattern
    started = datetime.fromtimestamp(pattern.start.at, UTC)
    evidence = {
        "pattern": _name_of(found),
        "tools": [call.name for call in pattern.calls if call.name],
        "args": pattern.calls[-1].args,
        "period": pattern.period,
        "laps": pattern.laps,
        "count": pattern.count,
        "exact": found.exact,
        "same_result": _same_result(found),
        "first_at": started.isoformat(),
        "last_at": datetime.fromtimestamp(pattern.last.at, UTC).isoformat(),
        "seconds": round(pattern.seconds, 1),
        "lap_gap": pattern.lap,
        "tokens": pattern.tokens,
        "cost_usd": pattern.cost / 1_000_000,
        "needed": found.needed,
        "silence": _silence(found),
    }
    return Finding(KIND, found.severity, _reason(found), started, evidence)


def _name_of(found: Classification) -> str:
    if found.pattern.every & SAID:
        return "words"
    return found.waits or found.pattern.kind


def _same_result(found: Classification) -> bool | None:
    """None where results are not reported."""
    if not found.pattern.every & RESULT:
        return None
    return found.pattern.kind != patterns.STUBBORN


def _reason(found: Classification) -> str:
    pattern = found.pattern
    spent = dollars(pattern.cost) if pattern.cost else f"{pattern.tokens:,} tokens" if pattern.tokens else ""
    money = f", {spent} so far" if spent else ""
    note = f" ({found.waits})" if found.waits else ""
    return f"{_what(found)} in {spoken(pattern.seconds)}{money}{note}"


def _what(found: Classification) -> str:
    pattern, call = found.pattern, found.pattern.calls[-1]
    if pattern.every & SAID:
        return f"Said {pattern.laps} times without doing anything: “{call.args[:MAX_CALL_LENGTH]}”"
    if pattern.kind == patterns.THRASH:
        return _thrashing(found, call)
    if pattern.kind == patterns.STALE:
        return f"{pattern.count} calls in a row that were all made before, {_steps(pattern.calls)} among them,"
    if pattern.kind == patterns.CYCLE and pattern.period > 1:
        return f"{_steps(pattern.calls)} repeated {pattern.laps} times{_alike(found)}"
    row = " in a row" if pattern.kind != patterns.OFTEN and pattern.count == pattern.laps else ""
    return f"{_said(call)} called {pattern.count} times{_alike(found) or row}"


def _thrashing(found: Classification, call: Shown) -> str:
    pattern = found.pattern
    if pattern.exact >= classification.ERRORS_NEEDED:
        return f"`{call.name}` failed {pattern.exact} times in a row with the same error"
    if pattern.laps >= classification.FAILS_NEEDED:
        return f"`{call.name}` failed {pattern.laps} times in a row"
    return f"`{call.name}` called {pattern.count} times in a row, while the agent speaks of trouble,"


def _alike(found: Classification) -> str:
    """What is the same about the calls, as far as that is worth saying."""
    if found.pattern.kind == patterns.STUBBORN:
        return ", whatever it returned,"
    result = " with the same result" if _same_result(found) else ""
    return result if found.exact else f" with nearly the same arguments{' and' + result[5:] if result else ''}"


def _said(call: Shown) -> str:
    return f"`{call.name}({call.args})`"[:MAX_CALL_LENGTH] if call.args else f"`{call.name}`"


def _steps(calls: Sequence[Shown]) -> str:
    return " → ".join(f"`{call.name}`" if call.name else "words" for call in calls)


def _silence(found: Classification) -> str:
    """What a person sets if it is meant to be like this."""
    names = [call.name for call in found.pattern.calls if call.name]
    if not names:
        return f'{{"loop": {{"repeats": {2 * found.pattern.laps}}}}}'
    if found.waits == "polling":
        return f'{{"loop": {{"budget:{names[-1]}": {2 * found.pattern.laps}}}}}'
    return f'{{"loop": {{"poller:{names[-1]}": true}}}}, or a higher "budget:{names[-1]}"'
