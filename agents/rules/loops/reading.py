"""Heartbeats into the loop detector's state. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from agents.rules.loops import keys, patterns, symbols
from agents.rules.loops.state import Mark, State
from agents.rules.loops.symbols import HIDDEN

if TYPE_CHECKING:
    from agents.rules.facts import BeatSeen

STARTED: Final = "started"
LINES: Final = 8
TEXTS: Final = 8
# Whoever waits for a person is told something new by them.
PERSON = re.compile(r"approv|human|person|user|input|answer|reply|review|confirm|operator", re.IGNORECASE)


def read(state: State, beats: Sequence[BeatSeen]) -> State:
    """The state after some more heartbeats. A new process, run or task, and a person's turn, begin anew."""
    for beat in beats:
        run = keys.digest(beat.run) if beat.run else state.run
        if beat.note == STARTED or run != state.run or PERSON.search(beat.waiting):
            state = state.fresh()
        state.run = run
        _read_one(state, beat)
    return state


def _read_one(state: State, beat: BeatSeen) -> None:
    before, at = state.now, beat.received_at.timestamp()
    after = Mark(at, before.tokens + beat.tokens, before.cost + beat.cost)
    begun = before if before.at else Mark(at, before.tokens, before.cost)
    state.now = after
    moved = bool(beat.tokens or beat.cost or beat.message) or beat.iteration not in (None, state.iteration)
    calls = symbols.new_calls(beat, state.log, counts=state.counts, moved=moved)
    steps = 0 if beat.iteration is None or state.iteration is None else beat.iteration - state.iteration
    state.iteration = state.iteration if beat.iteration is None else beat.iteration
    state.counts = state.counts or beat.counter is not None
    if beat.calls and not state.counts:
        state.log = symbols.log_marks(beat.calls)
    _hear(state, beat.message, with_calls=bool(calls))
    if calls:
        state.calls = True
        hidden = HIDDEN if steps > len(calls) else 0
        found = [(key, flags | hidden) for key, flags in map(symbols.of_call, calls)]
        for symbol, call in zip(symbols.spread(found, begun, after), calls, strict=True):
            patterns.push(state, symbol, call.get("name") or "", call.get("args") or "")
    elif _speaks(state, beat):
        (symbol,) = symbols.spread([symbols.of_text(beat.message)], begun, after)
        patterns.push(state, symbol, "", beat.message)


def _hear(state: State, text: str, *, with_calls: bool) -> None:
    if not text:
        return
    state.texts = state.texts[1 - TEXTS :] + str(symbols.trouble(text))
    line = keys.digest(text)
    if with_calls and line not in state.lines:
        state.lines = [*state.lines[1 - LINES :], line]


def _speaks(state: State, beat: BeatSeen) -> bool:
    """Whether a heartbeat is words that cost something, and no line that goes along with work."""
    if not beat.tokens or beat.counter or not symbols.is_speech(beat.message):
        return False
    return keys.digest(beat.message) not in state.lines
