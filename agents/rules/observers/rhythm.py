"""The rhythm in which an agent shows progress, learned from its own gaps. No rule of its own: it sets a clock.

What is usual is the longest gap of an ordinary day. It is told from the longest gap of each of up to 56 equal times:
from how often the upper half of these comes in a day of work, on a line through their roots, which fits timers, chance
and tails that end. Many short gaps do not move it, so a burst teaches no impatience, and one bad day moves it as
little. The timeout is 2.65 of these, and at least 5 minutes; 2.4 while less than four days are known, since what is
little known is easily too long; in the first hours half an hour.

Nights and weekends: the last rests are kept with their beginning and length. An agent that falls quiet at an hour at
which it rested before may rest as long as then: nights come every day, what is longer on the same weekday. What is not
known for a week may rest a weekend. A rest unlike all others was none, unless it is new or of days. On its first day an
agent that falls quiet after 2.5 to 14 hours of work may have gone to its first rest: that is told once the day is over,
and the weekend if it ends on one.
An evening that begins an hour early once, as when clocks change, is told as a stall.

Starts have gaps of their own. Declared waits, and the time from a shutdown on, teach nothing.

Memory: 1.5 KB at most. Durations are seconds, times are seconds since 1970; rests are in whole minutes. The numbers
were chosen on simulated agents (`bench/stalls.py`): at most one false stall in 1,000 agent-days, 95 % of stalls within
three usual gaps; there is also what no timing can tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from math import log, sqrt
from statistics import median
from typing import Any, Final

from agents.domain.clocks import MIN_PROGRESS, PROGRESS_UNLEARNED
from agents.domain.notes import STARTED
from agents.rules.facts import BeatSeen, Learned

KIND = "rhythm"
MINUTE: Final = 60
DAY: Final = 86_400
WEEK: Final = 7 * DAY
GAPS_KEPT: Final = 31
STARTS_KEPT: Final = 5
RESTS_KEPT: Final = 21
# The longest gaps of so many equal times; when there are more, each two become one of double length, up to a third of
# a day: the last 14 to 19 days in the end.
MAX_BLOCKS: Final = 56
BLOCK_FIRST: Final = 900
MAX_BLOCK_LENGTH: Final = DAY // 3
# Fewer than this are trusted less, by one standard error; and blocks of this length mean that four days are known.
BLOCKS_NEEDED: Final = 10
BLOCK_KNOWN: Final = DAY // 6
USUAL_FACTOR: Final = 2.65
NEW_FACTOR: Final = 2.4
# What one gap past its timeout may teach: a real stall is no rhythm, but two long gaps in a row are.
MAX_TEACHES: Final = 2.0
# The first gaps of a new process: it loads, and may say so in between.
START_GAPS: Final = 3
START_FACTOR: Final = 2.0
# What is at least so long, and so many usual gaps, is a rest. Those of the first days are believed as they are.
MIN_REST: Final = 3 * 3_600
REST_FACTOR: Final = 4.0
RESTS_NEW: Final = 2 * DAY
RESTS_LAST: Final = 3 * WEEK
# How much earlier than ever it may begin, divided by the rests that are known and one.
REST_EARLIER: Final = 2_700
# How much later it may end: batches take their time, and clocks change twice a year.
REST_LATER: Final = 3_600
# The same weekday's rest may begin so much earlier, since there are few to tell from.
REST_WEEKLY: Final = 3 * 3_600
WEEK_KNOWN: Final = 8 * DAY
WEEKEND: Final = 66 * 3_600
# Saturday and Sunday; by UTC, which is near enough for a first day.
WEEKEND_DAYS: Final = (5, 6)
# The first day. Whoever set an agent up still looks on in its first hours and is told; and what works longer than any
# working day does not rest at its end. In between a silence may be the first night, which nobody knows yet.
NEW_TOLD: Final = 9_000
NEW_DAY: Final = 14 * 3_600


def read(memory: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Learn the gaps between beats that showed progress."""
    state = dict(memory)
    for beat in beats:
        _read(state, beat, beat.received_at.timestamp())
    return state


def of(memory: Mapping[str, Any], last_progress_at: datetime | None) -> Learned:
    """What is known of an agent that last showed progress then."""
    usual = median(memory["gaps"]) if memory.get("gaps") else None
    if last_progress_at is None:
        return Learned(usual, _longest(memory), _timeout(memory), None)
    seconds = _quiet_until(memory, last_progress_at.timestamp()) - last_progress_at.timestamp()
    quiet_until = last_progress_at + timedelta(seconds=seconds) if seconds > 0 else None
    return Learned(usual, _longest(memory), _timeout(memory), quiet_until)


def rests(memory: Mapping[str, Any], last_progress_at: datetime | None) -> list[tuple[datetime, float]]:
    """When those that count began, and how many seconds they took, oldest first."""
    if last_progress_at is None:
        return []
    believed = _believed(memory, last_progress_at.timestamp())
    return [(datetime.fromtimestamp(begin, UTC), float(length)) for begin, length in believed]


def _read(state: dict[str, Any], beat: BeatSeen, at: float) -> None:
    state.setdefault("first", at)
    if beat.note == STARTED:
        _start(state, at)
    if beat.progress and not state.get("at", at) - REST_LATER < at < state.get("at", at):
        _moved(state, at)
    if beat.waiting or beat.status == "shutdown":
        state["paused"] = True
    if beat.status == "shutdown":
        state["over"] = True
    state["beat"] = at


def _start(state: dict[str, Any], at: float) -> None:
    """A new process has time to start, unless its beats had gone on without progress for too long before."""
    state["fresh"], state["paused"] = 0, True
    last = state.get("at", at)
    stuck = state.get("beat", at) > _due(state, last) and not state.get("over")
    if "begun" not in state and not stuck:
        state["begun"] = at


def _moved(state: dict[str, Any], at: float) -> None:
    begun = state.pop("begun", None)
    paused, last = state.pop("paused", False), state.get("at", at)
    state.pop("over", None)
    if begun is not None or state.get("fresh", START_GAPS) < START_GAPS:
        _learn_start(state, at - (last if begun is None else begun))
    elif not paused and at > last:
        _learn(state, at - last, last)
    state["fresh"] = min(START_GAPS, state.get("fresh", START_GAPS) + 1)
    state["at"] = at


def _learn_start(state: dict[str, Any], gap: float) -> None:
    starts = state.get("starts", [])
    if state.get("fresh") == 0 or not starts:
        starts = [*starts[1 - STARTS_KEPT :], 0.0]
    state["starts"] = [*starts[:-1], round(max(starts[-1], gap), 1)]


def _learn(state: dict[str, Any], gap: float, last: float) -> None:
    gaps = state.get("gaps", [])
    if len(gaps) == 1 and gaps[0] >= max(MIN_REST, REST_FACTOR * gap):
        # The first gap of all was a rest, as the second one shows.
        state["rests"] = [[int((last - gaps[0]) // MINUTE), int(gaps[0] // MINUTE)]]
        gaps, state["blocks"] = [], []
    if gap >= MIN_REST and gaps and gap >= REST_FACTOR * median(gaps):
        rest = [int(last // MINUTE), int(gap // MINUTE)]
        state["rests"] = [*state.get("rests", [])[1 - RESTS_KEPT :], rest]
        return
    if gap > MIN_PROGRESS:
        gap = min(gap, MAX_TEACHES * (_timeout(state) or gap))
    gap = max(0.1, round(gap, 1))
    state["gaps"] = [*gaps[1 - GAPS_KEPT :], gap]
    _block(state, gap, last + gap)


def _block(state: dict[str, Any], gap: float, at: float) -> None:
    """Into the longest of its time; a time without any gap has none."""
    blocks, size = state.get("blocks", []), state.get("size", BLOCK_FIRST)
    passed = int(at // size) - state.get("block", -1)
    if not blocks:
        blocks = [gap]
    elif passed <= 0:
        blocks = [*blocks[:-1], max(gap, blocks[-1])]
    else:
        blocks = [*blocks, *[0.0] * (min(passed, MAX_BLOCKS) - 1), gap]
    while len(blocks) > MAX_BLOCKS and size < MAX_BLOCK_LENGTH:
        blocks, size = _halved(blocks), 2 * size
    state["blocks"], state["size"], state["block"] = blocks[-MAX_BLOCKS:], size, int(at // size)


def _halved(blocks: list[float]) -> list[float]:
    """The longer ones of pairs, from the newest on."""
    whole = blocks if len(blocks) % 2 == 0 else [0.0, *blocks]
    return [max(pair) for pair in zip(whole[::2], whole[1::2], strict=True)]


def _longest(memory: Mapping[str, Any]) -> float | None:
    """The longest gap of an ordinary day: one that is as often exceeded as not."""
    if not memory.get("blocks"):
        return None
    longest = sorted((sqrt(block) for block in memory["blocks"] if block), reverse=True)
    count = max(1, len(longest) // 2)
    least = longest[min(count, len(longest) - 1)]
    excess = sum(longest[:count]) / count - least
    days = _worked(memory["blocks"], memory["size"]) / DAY
    few = len(memory["blocks"]) < BLOCKS_NEEDED
    level = least + excess * (1 + few / sqrt(count)) * max(0.0, log(count / days / log(2)))
    return float(level**2 if few else min(level, longest[0]) ** 2)


def _worked(blocks: Sequence[float], size: int) -> int:
    """Seconds that they cover, without whole days off: an ordinary day is one of work."""
    off = sum(sum(1 for _ in run) * size // DAY for is_off, run in groupby(blocks, lambda block: not block) if is_off)
    return len(blocks) * size - off * DAY


def _timeout(memory: Mapping[str, Any]) -> float | None:
    """Seconds without progress that are unusual; None while nothing is known."""
    longest = _longest(memory)
    if longest is None:
        return None
    young = len(memory["blocks"]) < BLOCKS_NEEDED
    factor = USUAL_FACTOR if memory["size"] >= BLOCK_KNOWN else NEW_FACTOR
    return max(PROGRESS_UNLEARNED if young else MIN_PROGRESS, factor * longest)


def _due(memory: Mapping[str, Any], last: float) -> float:
    return max(last + (_timeout(memory) or PROGRESS_UNLEARNED), _quiet_until(memory, last))


def _quiet_until(memory: Mapping[str, Any], last: float) -> float:
    """Until when it may start or rest after the progress of `last`; 0: nothing but the timeout counts."""
    return max(_starting_until(memory, last), _resting_until(memory, last), _new_until(memory, last))


def _new_until(memory: Mapping[str, Any], last: float) -> float:
    """Until when an agent on its first day may have its first rest; 0: too early for one, or it works on and on."""
    seen_for = last - memory.get("first", last)
    if not NEW_TOLD <= seen_for < NEW_DAY:
        return 0.0
    over = float(memory["first"] + DAY + REST_LATER)
    while datetime.fromtimestamp(over, UTC).weekday() in WEEKEND_DAYS:
        over += DAY
    return over


def _starting_until(memory: Mapping[str, Any], last: float) -> float:
    starts: list[float] = memory.get("starts", [0.0])
    if "begun" not in memory and memory.get("fresh", START_GAPS) >= START_GAPS:
        return 0.0
    longest = max(PROGRESS_UNLEARNED, _timeout(memory) or 0.0, START_FACTOR * max(starts))
    return float(memory.get("begun", last)) + longest


def _resting_until(memory: Mapping[str, Any], last: float) -> float:
    """Until when it may rest, if it rested before from this hour on; 0: it may not."""
    rests = _believed(memory, last)
    if not rests:
        return 0.0
    earlier = (_longest(memory) or 0.0) + _spread(rests)
    nights = [(rest[1] % DAY, _into(rest, last + earlier)) for rest in rests]
    left = [length - into for length, into in nights if into <= length + earlier]
    if not left:
        return 0.0
    weeks = [(rest[1] - (last + REST_WEEKLY - rest[0]) % WEEK) for rest in rests if rest[1] > DAY]
    ends = [*(last + earlier + most for most in left), *(last + REST_WEEKLY + most for most in weeks)]
    unknown = [last + WEEKEND] if last - memory["first"] < WEEK_KNOWN else []
    return float(max([*ends, *unknown])) + REST_LATER


def _believed(memory: Mapping[str, Any], last: float) -> list[tuple[int, int]]:
    """The rests of the last weeks, without those that were none: a stall of hours that nobody cured is no habit."""
    rests = [(begin * MINUTE, minutes * MINUTE) for begin, minutes in memory.get("rests", [])]
    known = [rest for rest in rests if last - rest[0] < RESTS_LAST]
    new = memory.get("first", 0.0) + RESTS_NEW
    return [rest for rest in known if rest[0] < new or rest[1] > DAY or _has_like(rest, known)]


def _spread(rests: Sequence[tuple[int, int]]) -> float:
    """How much earlier than ever it may rest: half of what its beginnings lie apart, more while few are known."""
    apart = [(begin - rests[-1][0] + DAY / 2) % DAY for begin, _ in rests]
    near = [one for one in apart if abs(one - DAY / 2) < MIN_REST]
    return (max(near) - min(near)) / 2 + REST_EARLIER / (len(near) + 1)


def _into(rest: tuple[int, int], at: float) -> float:
    """How long it is since that rest began, if it came every day."""
    return (at - rest[0]) % DAY


def _has_like(rest: tuple[int, int], rests: Sequence[tuple[int, int]]) -> bool:
    """Whether another one covered the middle of its night."""
    middle = rest[0] + rest[1] % DAY / 2
    return any(other != rest and _into(other, middle) <= other[1] % DAY for other in rests)
