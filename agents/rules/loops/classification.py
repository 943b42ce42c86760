"""What a repetition means: a loop, how bad, or a wait. Pure; the thresholds are those a person may change."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from agents.rules.loops.patterns import CYCLE, OFTEN, STALE, STUBBORN
from agents.rules.loops.state import Pattern, Shown, State
from agents.rules.loops.symbols import CUT, HASHED, HIDDEN, READS, RESULT, SAID, TROUBLED, UNKNOWN, WAITS

INFO, WARNING, CRITICAL = "info", "warning", "critical"
# Laps of a cycle of 1, 2, 3 and more steps. On 3,264 recorded good runs 4/4/3 alarms falsely in none, 3/3/3 in 12;
# where all of the arguments are known, two laps of two are followed by a third in loops only.
ONE, TWO, MORE = 4, 4, 3
TWO_HASHED: Final = 3
LEAST: Final = 2
# Laps more where calls agree only when times, ids and word order are masked, and where arguments were cut:
# all of them, and some of them or all while the agent says that something is wrong.
SOFT_MORE: Final = 1
CUT_ALL_MORE, CUT_SOME_MORE = 3, 1
# Words that came in between may have been somebody's, who asked for it again.
HIDDEN_MORE: Final = 1
# Names alone: their arguments may differ each time. Words of an agent that never reported a call may be a status line.
NAMES_ONLY: Final = 12
WORDS_ONLY: Final = 8
# One call so often among the last 20 symbols, where it is three of five (every second is editing and testing); and
# where each returned the same.
OFTEN_NEEDED, OFTEN_NEEDED_RESULT, OFTEN_NEEDED_CUT = 9, 8, 13
# Symbols in a row that are nothing new; where that is certain and the agent says that something is wrong.
STALE_NEEDED, STALE_TROUBLED = 10, 8
# Equal calls in a row with ever other results; and while the agent says that something is wrong.
STUBBORN_NEEDED, STUBBORN_TROUBLED = 8, 5
TOOL_NEEDED, FAILS_NEEDED, ERRORS_NEEDED = 10, 6, 5
# Polls whose result stays the same while they burn, or come faster than anything changes that is worth waiting for;
# else laps and seconds.
POLLS_UNCHANGED: Final = 12
FAST_POLL: Final = 15.0
POLLS, POLL_SECONDS = 40, 1_200.0
SLEEPS: Final = re.compile(r"\W*(?:sleep|wait)", re.IGNORECASE)
# A slow lap that burns little is a schedule: seconds, tokens a minute.
SCHEDULE_LAP, SCHEDULE_BURN = 60.0, 6_000
# Critical from twice the laps and so much spent since the onset: tokens, micro-dollars.
CRITICAL_TOKENS, CRITICAL_COST = 50_000, 500_000
# Whichever is worst is told; among equals the one that explains most.
ORDER: Final = (CYCLE, STUBBORN, OFTEN, STALE)
SEVERITIES: Final = (INFO, WARNING, CRITICAL)


@dataclass(frozen=True, slots=True)
class Classification:
    """`needed` laps were asked for; `waits` says `polling`, `backing off` or `scheduled` where it is that."""

    pattern: Pattern
    severity: str
    needed: int
    exact: bool
    waits: str = ""


def worst(state: State, thresholds: Mapping[str, Any]) -> Classification | None:
    """What is to be told of all that repeats."""
    found = [verdict for pattern in state.found.values() if (verdict := judge(pattern, state, thresholds))]
    return max(found, key=_rank, default=None)


def _rank(verdict: Classification) -> tuple[int, int]:
    kind = verdict.pattern.kind
    return SEVERITIES.index(verdict.severity), -(ORDER.index(kind) if kind in ORDER else len(ORDER))


def judge(pattern: Pattern, state: State, thresholds: Mapping[str, Any]) -> Classification | None:
    """None as long as it is too little to speak of."""
    budget = _budget(pattern, thresholds)
    waits = "" if budget else _waits(pattern, thresholds)
    if waits:
        return _judge_waiting(pattern, waits)
    needed, exact = _needed(pattern, state, thresholds, budget)
    if needed is None:
        return None
    much = pattern.tokens >= CRITICAL_TOKENS or pattern.cost >= CRITICAL_COST
    severity = CRITICAL if much and _size(pattern) >= 2 * needed else WARNING
    return Classification(pattern, severity, needed, exact)


def _size(pattern: Pattern) -> int:
    """What is counted of a pattern of this kind."""
    return pattern.laps if pattern.kind in (CYCLE, OFTEN, STUBBORN) else pattern.count


def _needed(pattern: Pattern, state: State, thresholds: Mapping[str, Any], budget: int) -> tuple[int | None, bool]:
    """How much was needed for a verdict, None where it is not reached; and whether exactly equal calls reached it."""
    least = budget or int(thresholds.get("repeats", 0))
    least = max(LEAST, least) if budget or "repeats" in thresholds else 0
    if pattern.kind == CYCLE:
        return _needed_of_cycle(pattern, state, least)
    if pattern.kind == OFTEN:
        needed = max(least, _often(pattern))
        return (needed if pattern.laps >= needed else None), pattern.exact >= needed
    if pattern.kind == STUBBORN:
        needed = max(least, STUBBORN_TROUBLED if pattern.some & TROUBLED else STUBBORN_NEEDED)
        return (needed if pattern.laps >= needed and not pattern.every & READS else None), True
    if pattern.kind == STALE:
        needed = max(least * pattern.period, _stale(pattern))
        return (needed if pattern.count >= needed else None), True
    return _needed_of_thrash(pattern, least), False


def _needed_of_cycle(pattern: Pattern, state: State, least: int) -> tuple[int | None, bool]:
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


def _needed_of_thrash(pattern: Pattern, least: int) -> int | None:
    """By its failures where these are reported, else by what the agent says meanwhile."""
    if pattern.laps >= max(least, FAILS_NEEDED):
        return max(least, FAILS_NEEDED)
    if pattern.exact >= max(least, ERRORS_NEEDED):
        return max(least, ERRORS_NEEDED)
    in_trouble = pattern.count > pattern.laps
    return max(least, TOOL_NEEDED) if in_trouble and pattern.count >= max(least, TOOL_NEEDED) else None


def _budget(pattern: Pattern, thresholds: Mapping[str, Any]) -> int:
    """The repetitions that a person allows for a tool of it; 0 where nobody said."""
    allowed = [int(thresholds.get(f"budget:{call.name}", 0)) for call in pattern.calls]
    return max(allowed, default=0)


def _waits(pattern: Pattern, thresholds: Mapping[str, Any]) -> str:
    if pattern.every & SAID:
        return _paced(pattern)
    declared = [thresholds.get(f"poller:{call.name}") for call in pattern.calls]
    polls = [call.waits if said is None else bool(said) for call, said in zip(pattern.calls, declared, strict=True)]
    # Of many calls only some are shown: the flags speak for the others.
    shown = pattern.kind != STALE or pattern.every & WAITS or any(said is not None for said in declared)
    return "polling" if all(polls) and shown else _paced(pattern)


def _paced(pattern: Pattern) -> str:
    if pattern.grows:
        return "backing off"
    return "scheduled" if pattern.lap >= SCHEDULE_LAP and pattern.burn < SCHEDULE_BURN else ""


def _judge_waiting(pattern: Pattern, waits: str) -> Classification | None:
    """Told on pages only, unless a poller goes on for very long or hears the same again and again."""
    if pattern.laps < ONE:
        return None
    unchanged = _is_unchanged(pattern)
    endless = pattern.laps >= POLLS and pattern.seconds >= POLL_SECONDS
    told = waits == "polling" and (unchanged or endless)
    needed = POLLS_UNCHANGED if unchanged else POLLS
    return Classification(pattern, WARNING if told else INFO, needed, pattern.exact >= pattern.laps, waits)


def _is_unchanged(pattern: Pattern) -> bool:
    """Whether polls that cost something, or that hurry, heard the same again and again."""
    polls = pattern.exact * max(1, sum(not _sleeps(call) for call in pattern.calls))
    hurries = pattern.burn >= SCHEDULE_BURN or pattern.lap < FAST_POLL * len(pattern.calls)
    return bool(pattern.every & RESULT) and pattern.kind == CYCLE and polls >= POLLS_UNCHANGED and hurries


def _sleeps(call: Shown) -> bool:
    return bool(SLEEPS.search(call.name) or SLEEPS.match(call.args))
