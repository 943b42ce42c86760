"""Folds heartbeats into the loop detector's state. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from agents.domain.notes import STARTED
from agents.rules.facts import BeatSeen
from agents.rules.loops import keys, patterns, symbols
from agents.rules.loops.state import Mark, State
from agents.rules.loops.symbols import HIDDEN

LINES: Final = 8
TEXTS: Final = 8
# Waiting for a person: their answer is new input, so what repeated before no longer counts.
PERSON = re.compile(r"approv|human|person|user|input|answer|reply|review|confirm|operator", re.IGNORECASE)


def read(state: State, beats: Sequence[BeatSeen]) -> State:
    """The state after these heartbeats. A new process, run or task and a person's turn start over."""
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
    steps = 0 if beat.iteration is None or state.iteration is None else beat.iteration - state.iteration
    calls = _new_calls(state, beat)
    _hear(state, beat.message, with_calls=bool(calls))
    if calls:
        state.calls = True
        hidden = HIDDEN if steps > len(calls) else 0
        actions = [(key, flags | hidden) for key, flags in map(symbols.of_call, calls)]
        for symbol, call in zip(symbols.spread(actions, begun, after), calls, strict=True):
            patterns.push(state, symbol, call.get("name") or "", call.get("args") or "")
    elif _speaks(state, beat):
        (symbol,) = symbols.spread([symbols.of_text(beat.message)], begun, after)
        patterns.push(state, symbol, "", beat.message)


def _new_calls(state: State, beat: BeatSeen) -> Sequence[Mapping[str, Any]]:
    """The calls no earlier heartbeat reported; remembers what the next heartbeat is compared with."""
    moved = bool(beat.tokens or beat.cost or beat.message) or beat.iteration not in (None, state.iteration)
    calls = symbols.new_calls(beat, state.log, counts=state.counts, moved=moved)
    state.iteration = state.iteration if beat.iteration is None else beat.iteration
    state.counts = state.counts or beat.counter is not None
    if beat.calls and not state.counts:
        state.log = symbols.log_marks(beat.calls)
    return calls


def _hear(state: State, text: str, *, with_calls: bool) -> None:
    if not text:
        return
    state.texts = state.texts[1 - TEXTS :] + str(symbols.trouble(text))
    line = keys.digest(text)
    if with_calls and line not in state.lines:
        state.lines = [*state.lines[1 - LINES :], line]


def _speaks(state: State, beat: BeatSeen) -> bool:
    """Whether a heartbeat is a message that used tokens, and not a line that usually accompanies work."""
    if not beat.tokens or beat.counter or not symbols.is_speech(beat.message):
        return False
    return keys.digest(beat.message) not in state.lines
