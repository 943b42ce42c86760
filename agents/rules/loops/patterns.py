"""Finds repetitions among an agent's symbols. Pure and streaming: `push` adds one symbol to the state.

How often is too often is left to `classification.py`, so that changed thresholds take effect at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import pairwise
from operator import and_, or_
from typing import Final

from agents.rules.loops.state import (
    ARGS_BYTES,
    NAME_BYTES,
    PERIODS,
    RING,
    SAMPLE_BYTES,
    Mark,
    Pattern,
    Shown,
    State,
    Symbol,
    Tool,
    beginning,
    short,
)
from agents.rules.loops.symbols import FAILED, RESULT, SAID, TROUBLED, UNKNOWN, WAITS

CYCLE, OFTEN, STUBBORN, STALE, THRASH = "cycle", "irregular", "stubborn", "nothing_new", "thrash"
# From here on a repetition is tracked; `classification.py` asks for more.
MIN_FREQUENT, MIN_STALE, MIN_TRIES, MIN_FAILS, MIN_TOOL = 8, 8, 4, 4, 8
WINDOW: Final = 20
OFTEN_SHARE: Final = 0.6
RECENT: Final = 8
NAMES_SHOWN: Final = 4
# Among the last 8 messages: how many say that it failed again, and how many that something is wrong.
MIN_FAILED_AGAIN, MIN_TROUBLED = 6, 4
# A pattern is over after this many symbols that do not belong to it.
MISSES: Final = 8
# Gaps that grow by this factor, twice in a row, are a back-off.
GROWTH: Final = 1.4
MAX_DISTINCT: Final = 12
# Where no tokens are reported, cost stands in for them, at $3 per million.
MICROS_PER_TOKEN: Final = 3


def push(state: State, symbol: Symbol, name: str, args: str) -> None:
    """Add one symbol and update the patterns it continues or ends."""
    seen = not symbol.flags & UNKNOWN and any(row.exact == symbol.exact for row in state.ring)
    _count(state, symbol, name)
    state.stale = state.stale + 1 if seen else 0
    state.ring = [*state.ring[1 - RING :], symbol]
    waits = bool(symbol.flags & WAITS)
    state.recent = [*state.recent[1 - RECENT :], Shown(short(name, NAME_BYTES), beginning(args, ARGS_BYTES), waits)]
    sample = Shown(short(name, NAME_BYTES), beginning(args, SAMPLE_BYTES), waits)
    continued = {pattern.kind for pattern in _candidates(state, sample) if _track(state, pattern)}
    for kind, pattern in list(state.found.items()):
        if kind not in continued and _is_over(pattern, symbol, seen=seen):
            del state.found[kind]


def _count(state: State, symbol: Symbol, name: str) -> None:
    """Update the counters; call it before the symbol is in the ring."""
    size = len(state.ring)
    before = [state.ring[-period] if period <= size else None for period in PERIODS]
    soft, exact = symbol.soft, symbol.exact
    state.soft = [count + 1 if old and old.soft == soft else 0 for old, count in zip(before, state.soft, strict=True)]
    state.exact = [
        count + 1 if old and old.exact == exact else 0 for old, count in zip(before, state.exact, strict=True)
    ]
    again = before[0] is not None and before[0].action == symbol.action and not symbol.flags & (SAID | UNKNOWN)
    state.tries = state.tries + 1 if again else 1
    if not symbol.flags & SAID:
        state.tool = _tool(state.tool, symbol, short(name, NAME_BYTES))


def _tool(tool: Tool, symbol: Symbol, name: str) -> Tool:
    if tool.name != name:
        tool = Tool(name, start=symbol.mark)
    if not symbol.flags & FAILED:
        return Tool(name, tool.calls + 1, start=tool.start)
    same = symbol.flags & RESULT and symbol.result == tool.error
    return Tool(name, tool.calls + 1, tool.fails + 1, tool.errors + 1 if same else 1, symbol.result, tool.start)


def _candidates(state: State, sample: Shown) -> Iterator[Pattern]:
    """The patterns that this symbol continues."""
    finders = (_cycle, _often, _stubborn, _stale, _thrash)
    yield from (pattern for finder in finders if (pattern := finder(state, sample)) is not None)


def _cycle(state: State, sample: Shown) -> Pattern | None:
    """The most convincing cycle of one to eight steps."""
    period = _best_period(state)
    if not period:
        return None
    matched = state.soft[period - 1]
    calls = [sample] if period == 1 else state.recent[-period:]
    start = state.ring[-min(len(state.ring), matched + period)].mark
    pattern = _pattern(CYCLE, state.ring[-period:], calls, laps=matched // period + 1, start=start)
    pattern.exact = state.exact[period - 1] // period + 1
    pattern.count = matched + period
    pattern.some |= _trouble(state)
    _time_laps(state, pattern)
    return pattern


def _best_period(state: State) -> int:
    """The period with the most laps, relative to what its classification needs; 0 if nothing repeats.

    A period that is a multiple of an equally long shorter one is skipped: the shorter one explains it better.
    """
    best, most = 0, 0.0
    for period in PERIODS:
        matched = state.soft[period - 1]
        is_multiple = any(state.soft[part - 1] >= matched for part in range(1, period) if period % part == 0)
        share = matched / period / (3 if period == 1 else 2)
        if matched >= period and not is_multiple and share > most:
            best, most = period, share
    return best


def _time_laps(state: State, pattern: Pattern) -> None:
    """The duration and growth of the last three laps."""
    period = pattern.period
    gaps = _gaps([row.mark for row in state.ring[-1 : -3 * period - 2 : -period]])
    _set_pace(pattern, sum(gaps) / len(gaps), state.ring[-1 - period * len(gaps)].mark)
    pattern.grows = _grow(gaps)


def _often(state: State, sample: Shown) -> Pattern | None:
    """This call as at least three of five symbols, in the longest such window of at most 20."""
    symbol = state.ring[-1]
    if symbol.flags & (UNKNOWN | SAID):
        return None
    rows: list[Symbol] = []
    most = 0
    for size, row in enumerate(reversed(state.ring[-WINDOW:]), 1):
        if row.soft == symbol.soft:
            rows.append(row)
            most = len(rows) if len(rows) >= OFTEN_SHARE * size else most
    if most < MIN_FREQUENT:
        return None
    rows = rows[:most]
    pattern = _pattern(OFTEN, [symbol], [sample], most, rows[-1].mark)
    pattern.exact = sum(row.exact == symbol.exact for row in rows)
    _set_pace(pattern, pattern.seconds / (most - 1), rows[-1].mark)
    return pattern


def _stubborn(state: State, sample: Shown) -> Pattern | None:
    """The same call in a row, with any result."""
    if state.tries < MIN_TRIES or not state.ring[-1].flags & RESULT:
        return None
    start = state.ring[-min(state.tries, len(state.ring))].mark
    pattern = _pattern(STUBBORN, state.ring[-1:], [sample], state.tries, start)
    pattern.exact = state.tries
    pattern.some |= _trouble(state)
    _set_pace(pattern, pattern.seconds / (min(state.tries, len(state.ring)) - 1), start)
    return pattern


def _stale(state: State, sample: Shown) -> Pattern | None:
    """Symbols in a row that all occurred before. `laps` is how often each occurred since, on average."""
    if state.stale < MIN_STALE:
        return None
    rows = state.ring[-min(state.stale, len(state.ring)) :]
    distinct = len({row.exact for row in rows})
    if distinct > MAX_DISTINCT:
        return None
    shown = list({call.name: call for call in state.recent}.values())[-NAMES_SHOWN:]
    pattern = _pattern(STALE, rows, shown, state.stale // distinct + 1, rows[0].mark)
    pattern.period, pattern.members = distinct, []
    pattern.count = pattern.exact = state.stale
    pattern.some |= _trouble(state)
    _set_pace(pattern, pattern.seconds * distinct / len(rows), rows[0].mark)
    return pattern


def _thrash(state: State, sample: Shown) -> Pattern | None:
    """One tool that fails, or is used while messages report problems. `laps` are failures, `exact` equal errors."""
    tool, symbol = state.tool, state.ring[-1]
    if symbol.flags & SAID:
        return None
    in_trouble = tool.calls >= MIN_TOOL and state.texts.count("2") >= MIN_FAILED_AGAIN
    if not in_trouble and tool.fails < MIN_FAILS:
        return None
    pattern = _pattern(THRASH, state.ring[-1:], [sample], tool.fails, tool.start)
    pattern.exact, pattern.count = tool.errors, tool.calls
    if not in_trouble:
        pattern.count = tool.fails
    pattern.grows = _grow(_gaps([row.mark for row in state.ring[:-5:-1]]))
    return pattern


def _pattern(kind: str, rows: Sequence[Symbol], calls: Sequence[Shown], laps: int, start: Mark) -> Pattern:
    flags = [row.flags for row in rows]
    members = [row.soft for row in rows]
    return Pattern(
        kind=kind,
        period=len(members),
        members=members,
        calls=list(calls),
        laps=laps,
        exact=0,
        count=laps,
        every=reduce(and_, flags),
        some=reduce(or_, flags),
        start=start,
        last=rows[-1].mark,
    )


def _trouble(state: State) -> int:
    return TROUBLED if len(state.texts) - state.texts.count("0") >= MIN_TROUBLED else 0


def _gaps(marks: Sequence[Mark]) -> list[float]:
    """Seconds between marks that are ordered newest first."""
    return [later.at - earlier.at for later, earlier in pairwise(marks)]


def _grow(gaps: Sequence[float]) -> bool:
    """Whether three gaps, newest first, grow like those of a back-off."""
    return len(gaps) == 3 and gaps[2] > 0 and gaps[0] >= GROWTH * gaps[1] and gaps[1] >= GROWTH * gaps[2]


def _set_pace(pattern: Pattern, lap: float, since: Mark) -> None:
    minutes = (pattern.last.at - since.at) / 60
    spent = pattern.last.tokens - since.tokens or (pattern.last.cost - since.cost) / MICROS_PER_TOKEN
    pattern.lap, pattern.burn = round(lap, 2), round(spent / minutes) if minutes > 0 else 0


def _track(state: State, pattern: Pattern) -> bool:
    """Store the pattern, merged with what is known of it; False if a better known cycle is still going on."""
    known = state.found.get(pattern.kind)
    if known is not None and _is_same(known, pattern):
        pattern.count = max(known.count + 1, pattern.count)
        pattern.laps, pattern.exact = max(known.laps, pattern.laps), max(known.exact, pattern.exact)
        pattern.start = known.start
    elif known is not None and pattern.kind == CYCLE and pattern.laps < (4 if pattern.period == 1 else 3):
        return False
    state.found[pattern.kind] = pattern
    return True


def _is_same(known: Pattern, pattern: Pattern) -> bool:
    if pattern.kind == THRASH:
        return known.calls[0].name == pattern.calls[0].name
    return pattern.kind == STALE or sorted(known.members) == sorted(pattern.members)


def _is_over(pattern: Pattern, symbol: Symbol, *, seen: bool) -> bool:
    """Whether a pattern that this symbol does not continue is over; one of its own symbols proves nothing."""
    if symbol.soft in pattern.members or (pattern.kind == STALE and seen):
        return False
    pattern.misses += 1
    return pattern.misses >= MISSES
