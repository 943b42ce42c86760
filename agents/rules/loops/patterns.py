"""What repeats among an agent's symbols. Pure and streaming: `push` takes one symbol into the state.

Nothing is judged here: how often is too often is for `verdict.py`, so that changed thresholds count at once.
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
    short,
)
from agents.rules.loops.symbols import FAILED, RESULT, SAID, TROUBLED, UNKNOWN, WAITS

CYCLE, OFTEN, STUBBORN, STALE, THRASH = "cycle", "irregular", "stubborn", "nothing_new", "thrash"
# From here on a repetition is remembered; `verdict.py` asks for more.
MIN_FREQUENT, MIN_STALE, MIN_TRIES, MIN_FAILS, MIN_TOOL = 8, 8, 4, 4, 8
WINDOW: Final = 20
OFTEN_SHARE: Final = 0.6
RECENT: Final = 8
NAMES_SHOWN: Final = 4
# Of the last 8 texts: so many say that it failed again, or that something is wrong.
MIN_TROUBLES, TROUBLES_SOME = 6, 4
# A pattern is over after so many symbols that are none of it.
MISSES: Final = 8
# A gap this much longer than the one before, twice in a row, is a back-off.
GROWTH: Final = 1.4
MAX_DISTINCT: Final = 12
# Where no tokens are reported, money stands in for them, at $3 a million.
MICROS_A_TOKEN: Final = 3


def push(state: State, symbol: Symbol, name: str, args: str) -> None:
    """Take one symbol in, and note what repeats with it."""
    seen = not symbol.flags & UNKNOWN and any(row.exact == symbol.exact for row in state.ring)
    _count(state, symbol, name)
    state.stale = state.stale + 1 if seen else 0
    state.ring = [*state.ring[1 - RING :], symbol]
    waits = bool(symbol.flags & WAITS)
    state.recent = [*state.recent[1 - RECENT :], Shown(short(name, NAME_BYTES), short(args, ARGS_BYTES), waits)]
    sample = Shown(short(name, NAME_BYTES), short(args, SAMPLE_BYTES), waits)
    refreshed = {pattern.kind for pattern in _candidates(state, sample) if _noted(state, pattern)}
    for kind, pattern in list(state.found.items()):
        if kind not in refreshed and _is_over(pattern, symbol, seen=seen):
            del state.found[kind]


def _count(state: State, symbol: Symbol, name: str) -> None:
    """Bring the counters up to date, before the symbol is in the ring."""
    size = len(state.ring)
    before = [state.ring[-period] if period <= size else None for period in PERIODS]
    soft, exact = symbol.soft, symbol.exact
    state.soft = [count + 1 if one and one.soft == soft else 0 for one, count in zip(before, state.soft, strict=True)]
    state.exact = [
        count + 1 if one and one.exact == exact else 0 for one, count in zip(before, state.exact, strict=True)
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
    """What this symbol goes on with."""
    finders = (_cycle, _often, _stubborn, _stale, _thrash)
    yield from (pattern for finder in finders if (pattern := finder(state, sample)) is not None)


def _cycle(state: State, sample: Shown) -> Pattern | None:
    """The cycle with the most laps beside what is usual for its period; a shorter one inside it explains it better."""
    best, most = 0, 0.0
    for period in PERIODS:
        matched = state.soft[period - 1]
        inner = any(state.soft[part - 1] >= matched for part in range(1, period) if period % part == 0)
        share = matched / period / (3 if period == 1 else 2)
        if matched >= period and not inner and share > most:
            best, most = period, share
    if not best:
        return None
    matched = state.soft[best - 1]
    rows = state.ring[-best:]
    calls = [sample] if best == 1 else state.recent[-best:]
    pattern = _pattern(CYCLE, rows, calls, matched // best + 1, state.ring[-min(len(state.ring), matched + best)].mark)
    pattern.exact = state.exact[best - 1] // best + 1
    pattern.some |= _trouble(state)
    pattern.count = matched + best
    gaps = _gaps([row.mark for row in state.ring[-1 : -3 * best - 2 : -best]])
    _pace(pattern, sum(gaps) / len(gaps), state.ring[-1 - best * len(gaps)].mark)
    pattern.grows = _grow(gaps)
    return pattern


def _often(state: State, sample: Shown) -> Pattern | None:
    """This call as three of five symbols or more, in the longest window of at most 20 where it is."""
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
    _pace(pattern, pattern.seconds / (most - 1), rows[-1].mark)
    return pattern


def _stubborn(state: State, sample: Shown) -> Pattern | None:
    """The same call in a row, whatever it returns."""
    if state.tries < MIN_TRIES or not state.ring[-1].flags & RESULT:
        return None
    start = state.ring[-min(state.tries, len(state.ring))].mark
    pattern = _pattern(STUBBORN, state.ring[-1:], [sample], state.tries, start)
    pattern.exact = state.tries
    pattern.some |= _trouble(state)
    _pace(pattern, pattern.seconds / (min(state.tries, len(state.ring)) - 1), start)
    return pattern


def _stale(state: State, sample: Shown) -> Pattern | None:
    """Symbols in a row that all were there before. `laps` is how often each was done since, on average."""
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
    _pace(pattern, pattern.seconds * distinct / len(rows), rows[0].mark)
    return pattern


def _thrash(state: State, sample: Shown) -> Pattern | None:
    """One tool that fails, or that is used while the texts admit trouble. `laps` are failures, `exact` equal errors."""
    tool, symbol = state.tool, state.ring[-1]
    if symbol.flags & SAID:
        return None
    in_trouble = tool.calls >= MIN_TOOL and state.texts.count("2") >= MIN_TROUBLES
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
    some, every = reduce(or_, flags), reduce(and_, flags)
    return Pattern(kind, len(members), members, list(calls), laps, 0, laps, every, some, start, rows[-1].mark)


def _trouble(state: State) -> int:
    return TROUBLED if len(state.texts) - state.texts.count("0") >= TROUBLES_SOME else 0


def _gaps(marks: Sequence[Mark]) -> list[float]:
    """Seconds between marks that run backwards in time."""
    return [later.at - earlier.at for later, earlier in pairwise(marks)]


def _grow(gaps: Sequence[float]) -> bool:
    """Whether each of three gaps, the newest first, is longer than the one before it, as those of a back-off are."""
    return len(gaps) == 3 and gaps[2] > 0 and gaps[0] >= GROWTH * gaps[1] and gaps[1] >= GROWTH * gaps[2]


def _pace(pattern: Pattern, lap: float, since: Mark) -> None:
    minutes = (pattern.last.at - since.at) / 60
    spent = pattern.last.tokens - since.tokens or (pattern.last.cost - since.cost) / MICROS_A_TOKEN
    pattern.lap, pattern.burn = round(lap, 2), round(spent / minutes) if minutes > 0 else 0


def _noted(state: State, pattern: Pattern) -> bool:
    """Put it beside or in place of what is known; False when a cycle that still stands is better known than this."""
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
    """Whether a pattern that this symbol does not go on with is over; one of its own symbols says nothing."""
    if symbol.soft in pattern.members or (pattern.kind == STALE and seen):
        return False
    pattern.misses += 1
    return pattern.misses >= MISSES
