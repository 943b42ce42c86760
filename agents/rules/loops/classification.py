"""Classifies a repetition: a loop and how severe it is, or a wait. Pure; `thresholds` are those a person may set."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from agents.rules.loops.patterns import CYCLE, OFTEN, STALE, STUBBORN
from agents.rules.loops.state import Pattern, Shown, State
from agents.rules.loops.symbols import CUT, HASHED, HIDDEN, READS, RESULT, SAID, TROUBLED, UNKNOWN, WAITS

INFO, WARNING, CRITICAL = "info", "warning", "critical"
# Laps for cycles of 1, 2, and 3 or more steps. On 3,264 recorded good runs 4/4/3 raises no false alarm, 3/3/3 raises
# 12. Where all arguments are known, a third lap of two steps occurs in loops only.
ONE, TWO, MORE = 4, 4, 3
TWO_HASHED: Final = 3
MIN_LAPS: Final = 2
# Additional laps: where calls match only with times, ids and word order masked; where all arguments were cut; where
# some were, or all while the agent reports problems.
SOFT_MORE: Final = 1
CUT_ALL_MORE, CUT_SOME_MORE = 3, 1
# Additional laps where a person may have spoken in between and asked for it again.
HIDDEN_MORE: Final = 1
# Laps where only names are known, since arguments may differ each time; and for messages of an agent that never
# reported a call, since they may be a status line.
NAMES_ONLY: Final = 12
WORDS_ONLY: Final = 8
# How often one call occurs among the last 20 symbols, if it is at least three of five (every second one is editing and
# testing); where each returned the same; where arguments were cut.
OFTEN_NEEDED, OFTEN_NEEDED_RESULT, OFTEN_NEEDED_CUT = 9, 8, 13
# Symbols in a row without anything new; where that is certain and the agent reports problems.
STALE_NEEDED, STALE_TROUBLED = 10, 8
# Equal calls in a row with different results; while the agent reports problems.
STUBBORN_NEEDED, STUBBORN_TROUBLED = 8, 5
# Calls of one tool while the agent reports problems; its failures in a row; with the same error.
TOOL_NEEDED, FAILS_NEEDED, ERRORS_NEEDED = 10, 6, 5
# Polling becomes a loop: after this many equal results, if it is expensive or faster (seconds per poll) than anything
# worth waiting for; otherwise after this many laps and seconds.
POLLS_UNCHANGED: Final = 12
FAST_POLL: Final = 15.0
POLLS, POLL_SECONDS = 40, 1_200.0
SLEEPS: Final = re.compile(r"\W*(?:sleep|wait)", re.IGNORECASE)
# A slow and cheap lap is a schedule: seconds per lap, tokens per minute.
SCHEDULE_LAP, SCHEDULE_BURN = 60.0, 6_000
# Critical from twice the laps and this much spent since the loop began: tokens, micro-dollars.
CRITICAL_TOKENS, CRITICAL_COST = 50_000, 500_000
# The most severe repetition is reported; among equals the kind that explains most.
ORDER: Final = (CYCLE, STUBBORN, OFTEN, STALE)
SEVERITIES: Final = (INFO, WARNING, CRITICAL)


@dataclass(frozen=True, slots=True)
class Classification:
    """`needed` is the limit that was reached; `waits` is `polling`, `backing off`, `scheduled` or empty."""

    pattern: Pattern
    severity: str
    needed: int
    exact: bool
    waits: str = ""


def worst(state: State, thresholds: Mapping[str, Any]) -> Classification | None:
    """The most severe of all current repetitions."""
    classified = [classify(pattern, state, thresholds) for pattern in state.found.values()]
    return max((one for one in classified if one), key=_rank, default=None)


def _rank(classified: Classification) -> tuple[int, int]:
    kind = classified.pattern.kind
    return SEVERITIES.index(classified.severity), -(ORDER.index(kind) if kind in ORDER else len(ORDER))


def classify(pattern: Pattern, state: State, thresholds: Mapping[str, Any]) -> Classification | None:
    """None while there are too few repetitions."""
    budget = _budget(pattern, thresholds)
    waits = "" if budget else _waits(pattern, thresholds)
    if waits:
        return _classify_wait(pattern, waits)
    needed, exact = _needed(pattern, state, thresholds, budget)
    if needed is None:
        return None
    is_expensive = pattern.tokens >= CRITICAL_TOKENS or pattern.cost >= CRITICAL_COST
    severity = CRITICAL if is_expensive and _size(pattern) >= 2 * needed else WARNING
    return Classification(pattern, severity, needed, exact)


def _size(pattern: Pattern) -> int:
    """Laps or symbols, whichever this kind of pattern is measured in."""
    return pattern.laps if pattern.kind in (CYCLE, OFTEN, STUBBORN) else pattern.count


def _needed(pattern: Pattern, state: State, thresholds: Mapping[str, Any], budget: int) -> tuple[int | None, bool]:
    """The limit, None if it is not reached; and whether exactly equal calls reached it."""
    least = budget or int(thresholds.get("repeats", 0))
    least = max(MIN_LAPS, least) if budget or "repeats" in thresholds else 0
    if pattern.kind == CYCLE:
        return _needed_by_cycle(pattern, state, least)
    if pattern.kind == OFTEN:
        needed = max(least, _often(pattern))
        return (needed if pattern.laps >= needed else None), pattern.exact >= needed
    if pattern.kind == STUBBORN:
        needed = max(least, STUBBORN_TROUBLED if pattern.some & TROUBLED else STUBBORN_NEEDED)
        return (needed if pattern.laps >= needed and not pattern.every & READS else None), True
    if pattern.kind == STALE:
        needed = max(least * pattern.period, _stale(pattern))
        return (needed if pattern.count >= needed else None), True
    return _needed_by_thrash(pattern, least), False


def _needed_by_cycle(pattern: Pattern, state: State, least: int) -> tuple[int | None, bool]:
    needed = least or _laps(pattern, state)
    if pattern.exact >= needed:
        return needed, True
    needed += SOFT_MORE
    return (needed if pattern.laps >= needed else None), False


def _laps(pattern: Pattern, state: State) -> int:
    if pattern.every & SAID:
        return ONE if state.calls else WORDS_ONLY
    if pattern.every & UNKNOWN:
        return NAMES_ONLY
    two = TWO_HASHED if pattern.every & HASHED else TWO
    laps = {1: ONE, 2: two}.get(pattern.period, MORE) + (HIDDEN_MORE if pattern.some & HIDDEN else 0)
    if pattern.every & CUT:
        return laps + (CUT_SOME_MORE if pattern.some & TROUBLED else CUT_ALL_MORE)
    return laps + (CUT_SOME_MORE if pattern.some & (CUT | UNKNOWN) else 0)


def _often(pattern: Pattern) -> int:
    if pattern.some & CUT:
        return OFTEN_NEEDED_CUT
    return OFTEN_NEEDED_RESULT if pattern.every & RESULT else OFTEN_NEEDED


def _stale(pattern: Pattern) -> int:
    if pattern.every & HASHED and pattern.some & TROUBLED:
        return STALE_TROUBLED
    return STALE_NEEDED + (CUT_ALL_MORE if pattern.some & CUT else 0)


def _needed_by_thrash(pattern: Pattern, least: int) -> int | None:
    """By failures where they are reported, else by what the agent says meanwhile."""
    if pattern.laps >= max(least, FAILS_NEEDED):
        return max(least, FAILS_NEEDED)
    if pattern.exact >= max(least, ERRORS_NEEDED):
        return max(least, ERRORS_NEEDED)
    in_trouble = pattern.count > pattern.laps
    return max(least, TOOL_NEEDED) if in_trouble and pattern.count >= max(least, TOOL_NEEDED) else None


def _budget(pattern: Pattern, thresholds: Mapping[str, Any]) -> int:
    """The repetitions that a person allows for one of its tools; 0 if not set."""
    return max((int(thresholds.get(f"budget:{call.name}", 0)) for call in pattern.calls), default=0)


def _waits(pattern: Pattern, thresholds: Mapping[str, Any]) -> str:
    """`polling`, `backing off`, `scheduled` or empty."""
    if pattern.every & SAID:
        return _paced(pattern)
    declared = [thresholds.get(f"poller:{call.name}") for call in pattern.calls]
    polls = [call.waits if said is None else bool(said) for call, said in zip(pattern.calls, declared, strict=True)]
    # A stale pattern shows only some of its calls; its flags cover the others.
    covers_all = pattern.kind != STALE or pattern.every & WAITS or any(said is not None for said in declared)
    return "polling" if all(polls) and covers_all else _paced(pattern)


def _paced(pattern: Pattern) -> str:
    if pattern.grows:
        return "backing off"
    return "scheduled" if pattern.lap >= SCHEDULE_LAP and pattern.burn < SCHEDULE_BURN else ""


def _classify_wait(pattern: Pattern, waits: str) -> Classification | None:
    """Only shown on pages, unless polling goes on for very long or keeps getting the same result."""
    if pattern.laps < ONE:
        return None
    unchanged = _is_unchanged(pattern)
    endless = pattern.laps >= POLLS and pattern.seconds >= POLL_SECONDS
    is_loop = waits == "polling" and (unchanged or endless)
    needed = POLLS_UNCHANGED if unchanged else POLLS
    return Classification(pattern, WARNING if is_loop else INFO, needed, pattern.exact >= pattern.laps, waits)


def _is_unchanged(pattern: Pattern) -> bool:
    """Whether expensive or hasty polls keep getting the same result."""
    polls = pattern.exact * max(1, sum(not _sleeps(call) for call in pattern.calls))
    hurries = pattern.burn >= SCHEDULE_BURN or pattern.lap < FAST_POLL * len(pattern.calls)
    return bool(pattern.every & RESULT) and pattern.kind == CYCLE and polls >= POLLS_UNCHANGED and hurries


def _sleeps(call: Shown) -> bool:
    return bool(SLEEPS.search(call.name) or SLEEPS.match(call.args))
