"""The same calls, cycles of calls, failures or messages repeat without new results.

The detector is in `agents/rules/loops/`: keys, symbols, patterns, and their classification, which holds the numbers and
their sources. Thresholds: `repeats`, how many equal repetitions make a loop; `budget:TOOL`, the same for one tool;
`poller:TOOL`, whether the tool is meant to be called repeatedly; `nudge` and `hold`, see
`agents/incidents/nudges.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from agents.domain.durations import spoken
from agents.domain.money import MICRO, dollars
from agents.domain.redaction import redacted_beginning
from agents.rules.evidence import DETAIL, NOWHERE, SECONDS, TEXT, EvidenceLabel, EvidenceLabels, Setting
from agents.rules.facts import BeatSeen, Facts, Finding, since
from agents.rules.loops import classification, patterns, reading
from agents.rules.loops.classification import INFO, Classification
from agents.rules.loops.state import CUT, Shown, State
from agents.rules.loops.symbols import RESULT, SAID
from agents.rules.thresholds import Threshold, Thresholds

KIND = "loop"
NUDGE: Final = "nudge"
HOLD: Final = "hold"
LABEL = "Loop"
THRESHOLDS: Thresholds = (
    Threshold(
        name="repeats",
        kind=int,
        unit="repetitions",
        minimum=2,
        maximum=1_000,
        why="Depends on what repeats, e.g. 4 for the same call in a row.",
    ),
    Threshold(
        name="budget:TOOL",
        kind=int,
        unit="repetitions",
        minimum=2,
        maximum=10_000,
        why="Other tools use the general limit.",
    ),
    Threshold(
        name="poller:TOOL",
        kind=bool,
        minimum=0,
        maximum=1,
        why="Tools with names like `get_status` or `wait` are recognized automatically.",
    ),
    Threshold(
        name=NUDGE,
        kind=bool,
        minimum=0,
        maximum=1,
        why="Tells the agent once, where its door can carry a word to the model. Off until you arm it.",
    ),
    Threshold(
        name=HOLD,
        kind=bool,
        minimum=0,
        maximum=1,
        why="Holds an agent that goes on after its nudge. Off until you arm it.",
    ),
)
WHAT_REPEATS: Final = {
    patterns.CYCLE: "the same call or sequence of calls",
    patterns.OFTEN: "one call, with others in between",
    patterns.STUBBORN: "one call, whatever it returns",
    patterns.STALE: "only calls that were made before",
    patterns.THRASH: "one tool that keeps failing",
    "words": "its messages",
    "polling": "polling",
}
EVIDENCE: EvidenceLabels = {
    "last_at": EvidenceLabel("Last call"),
    "lap_gap": EvidenceLabel("Interval"),
    "same_result": EvidenceLabel("Results", values={True: "the same each time", False: "not always the same"}),
    "tokens": EvidenceLabel("Tokens", unit="tokens"),
    "cost_usd": EvidenceLabel("Cost"),
    "args": EvidenceLabel("Arguments of the last call", TEXT),
    "pattern": EvidenceLabel("What repeats", DETAIL, values=WHAT_REPEATS),
    "tools": EvidenceLabel("Tools", DETAIL, is_code=True),
    "exact": EvidenceLabel("Arguments", DETAIL, values={True: "identical", False: "nearly identical"}),
    "period": EvidenceLabel("Calls per repetition", DETAIL),
    "laps": EvidenceLabel("Repeated", DETAIL, "times"),
    "count": EvidenceLabel("Calls counted", DETAIL),
    "needed": EvidenceLabel("Alert threshold", DETAIL, "times"),
    "first_at": EvidenceLabel("First call", DETAIL),
    "seconds": EvidenceLabel("Duration", DETAIL, SECONDS),
    "silence": EvidenceLabel("Setting that would allow it", NOWHERE),
}
# Without another repetition for this long (seconds, and laps) the loop is over, even if nothing else came either.
QUIET: Final = 600.0
QUIET_LAPS: Final = 3
MAX_CALL_LENGTH: Final = 200


def read(state: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Fold in new heartbeats. A new process, another run or task and a person's turn start over."""
    return reading.read(State.of(state), beats).as_json()


def allow(evidence: Mapping[str, Any]) -> Setting:
    """More repetitions."""
    tools, twice = evidence.get("tools") or (), 2 * evidence.get("laps", 0)
    if not tools:
        return Setting(f"Expected? Raise `repeats`, for example to {twice}.", "repeats")
    if evidence.get("pattern") == "polling":
        text = f"Expected? Give `{tools[-1]}` a limit of its own, for example {twice} repetitions."
        return Setting(text, "budget:TOOL")
    return Setting(f"Expected? Mark `{tools[-1]}` as a polling tool or raise its limit.", "poller:TOOL")


def check(facts: Facts) -> Finding | None:
    """A warning, critical once it is twice as long and expensive; over after 8 other symbols or silence."""
    finding = current(facts.state, facts.thresholds)
    if facts.is_stopped or finding is None or finding.severity == INFO:
        return None
    quiet = max(QUIET, QUIET_LAPS * finding.evidence["lap_gap"])
    last_at = datetime.fromisoformat(finding.evidence["last_at"])
    return None if since(last_at, facts.now) > quiet else finding


def current(state: Mapping[str, Any], thresholds: Mapping[str, Any]) -> Finding | None:
    """The worst current repetition, including harmless ones (severity `info`): polling, schedules, back-off."""
    worst = classification.worst(State.of(state), thresholds)
    return _finding(worst) if worst else None


def step(
    state: Mapping[str, Any], beat: BeatSeen, thresholds: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], list[Finding]]:
    """Fold in one heartbeat; returns the new state and every repetition it continues. For replays of recorded runs."""
    before = State.of(state).now
    after = reading.read(State.of(state), [beat])
    continued = [pattern for pattern in after.found.values() if pattern.last.at > before.at]
    classified = [classification.classify(pattern, after, thresholds or {}) for pattern in continued]
    return after.as_json(), [_finding(each) for each in classified if each is not None]


def dismissed(state: Mapping[str, Any], evidence: Mapping[str, Any]) -> dict[str, Any]:
    """The state after a person resolved it: repetitions up to now no longer count."""
    return State.of(state).fresh().as_json()


def _finding(classified: Classification) -> Finding:
    return Finding(
        kind=KIND,
        severity=classified.severity,
        reason=_reason(classified),
        started_at=datetime.fromtimestamp(classified.pattern.start.at, UTC),
        evidence=_evidence(classified),
    )


def _evidence(classified: Classification) -> dict[str, Any]:
    pattern = classified.pattern
    return {
        "pattern": _pattern_name(classified),
        "tools": [call.name for call in pattern.calls if call.name],
        "args": _args(pattern.calls[-1]),
        "period": pattern.period,
        "laps": pattern.laps,
        "count": pattern.count,
        "exact": classified.exact,
        "same_result": _same_result(classified),
        "first_at": datetime.fromtimestamp(pattern.start.at, UTC).isoformat(),
        "last_at": datetime.fromtimestamp(pattern.last.at, UTC).isoformat(),
        "seconds": round(pattern.seconds, 1),
        "lap_gap": pattern.lap,
        "tokens": pattern.tokens,
        "cost_usd": pattern.cost / MICRO,
        "needed": classified.needed,
        "silence": _silence(classified),
    }


def _pattern_name(classified: Classification) -> str:
    if classified.pattern.every & SAID:
        return "words"
    return classified.waits or classified.pattern.kind


def _same_result(classified: Classification) -> bool | None:
    """None where results are not reported."""
    if not classified.pattern.every & RESULT:
        return None
    return classified.pattern.kind != patterns.STUBBORN


def _silence(classified: Classification) -> str:
    """The setting that would allow this loop, as JSON."""
    names = [call.name for call in classified.pattern.calls if call.name]
    if not names:
        return f'{{"loop": {{"repeats": {2 * classified.pattern.laps}}}}}'
    if classified.waits == "polling":
        return f'{{"loop": {{"budget:{names[-1]}": {2 * classified.pattern.laps}}}}}'
    return f'{{"loop": {{"poller:{names[-1]}": true}}}}, or a higher "budget:{names[-1]}"'


# The reason


def _reason(classified: Classification) -> str:
    pattern = classified.pattern
    spent = dollars(pattern.cost) if pattern.cost else f"{pattern.tokens:,} tokens" if pattern.tokens else ""
    so_far = f", {spent} so far" if spent else ""
    note = f" ({classified.waits})" if classified.waits else ""
    return f"{_what(classified)} in {spoken(pattern.seconds)}{so_far}{note}"


def _what(classified: Classification) -> str:
    pattern, call = classified.pattern, classified.pattern.calls[-1]
    if pattern.every & SAID:
        return f"Same message {pattern.laps:,} times without any action: “{_args(call)[:MAX_CALL_LENGTH]}”"
    if pattern.kind == patterns.THRASH:
        return _failing(classified, call)
    if pattern.kind == patterns.STALE:
        return f"{pattern.count:,} calls in a row without anything new, including {_steps(pattern.calls)},"
    if pattern.kind == patterns.CYCLE and pattern.period > 1:
        return f"{_steps(pattern.calls)} repeated {pattern.laps:,} times{_similarity(classified)}"
    in_a_row = " in a row" if pattern.kind != patterns.OFTEN and pattern.count == pattern.laps else ""
    return f"{_call(call)} called {pattern.count:,} times{_similarity(classified) or in_a_row}"


def _failing(classified: Classification, call: Shown) -> str:
    pattern = classified.pattern
    if pattern.exact >= classification.ERRORS_NEEDED:
        return f"`{call.name}` failed {pattern.exact:,} times in a row with the same error"
    if pattern.laps >= classification.FAILS_NEEDED:
        return f"`{call.name}` failed {pattern.laps:,} times in a row"
    return f"`{call.name}` called {pattern.count:,} times in a row while the agent reports problems,"


def _similarity(classified: Classification) -> str:
    """What the calls have in common, as far as it is worth mentioning."""
    if classified.pattern.kind == patterns.STUBBORN:
        return ", whatever it returned,"
    result = " with the same result" if _same_result(classified) else ""
    if classified.exact:
        return result
    return f" with nearly the same arguments{' and the same result' if result else ''}"


def _call(call: Shown) -> str:
    return f"`{call.name}({_args(call)})`"[:MAX_CALL_LENGTH] if call.args else f"`{call.name}`"


def _args(call: Shown) -> str:
    """The arguments as they are shown. The state keeps them as they are, because most are never shown."""
    return redacted_beginning(call.args, CUT)


def _steps(calls: Sequence[Shown]) -> str:
    return " → ".join(f"`{call.name}`" if call.name else "a message" for call in calls)
