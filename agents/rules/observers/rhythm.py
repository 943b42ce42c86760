"""The rhythm in which an agent shows progress, learned from its gaps. Not a rule itself: it sets the progress timeout.

Usual is the longest gap on an ordinary day. It is estimated from the longest gap in each of up to 56 equal periods: how
often the upper half of these occurs per day of work, on a line through their square roots, which fits timers, random
gaps and bounded tails alike. Many short gaps do not move the estimate, so a burst teaches no impatience; neither does
one bad day. The timeout is 2.65 times the estimate, at least 5 minutes; 2.4 times while less than four days are known,
because early estimates are more often too long than too short; half an hour in the first hours.

Nights and weekends: recent rests are kept with their begin and length. An agent that falls quiet at an hour at which it
rested before may rest as long as then: nights every day, longer rests on the same weekday. An agent known for less
than a week may rest a weekend. A rest unlike all others does not count, unless the agent is new or it lasted days. On
its first day an agent that falls quiet after 2.5 to 14 hours of work may have begun its first rest: that is reported
once the day is over, or the weekend if the day ends on one. An evening that once begins an hour early, as when clocks
change, is reported as a stall.

Process starts have gaps of their own. Declared waits and the time after a shutdown teach nothing.

State: at most 1.5 KB. Durations are seconds, times are seconds since 1970, rests are stored in whole minutes. The
numbers were tuned on simulated agents (`bench/stalls.py`): at most one false stall in 1,000 agent-days, 95 % of stalls
found within three usual gaps. Some stalls cannot be found by timing at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from math import log, sqrt
from statistics import median
from typing import Any, Final, NamedTuple

from agents.domain.clocks import DEFAULT_PROGRESS_TIMEOUT, MIN_PROGRESS
from agents.domain.notes import STARTED
from agents.rules.facts import BeatSeen, Learned

KIND: Final = "rhythm"
MINUTE: Final = 60
DAY: Final = 86_400
WEEK: Final = 7 * DAY
GAPS_KEPT: Final = 31
STARTS_KEPT: Final = 5
RESTS_KEPT: Final = 21
# Periods of which the longest gap is kept. When there are more, each two become one of double length, up to a third of
# a day: 14 to 19 days in the end.
MAX_BLOCKS: Final = 56
BLOCK_FIRST: Final = 900
MAX_BLOCK_LENGTH: Final = DAY // 3
# With fewer blocks than this the estimate is raised by one standard error; blocks this long mean four days are known.
BLOCKS_NEEDED: Final = 10
BLOCK_KNOWN: Final = DAY // 6
USUAL_FACTOR: Final = 2.65
NEW_FACTOR: Final = 2.4
# How much one gap past its timeout may teach: a real stall is no rhythm, but two long gaps in a row are.
MAX_TEACHES: Final = 2.0
# The first gaps of a new process, which loads and may report in between.
START_GAPS: Final = 3
START_FACTOR: Final = 2.0
# A gap at least this long, and this many usual gaps, is a rest. Those of the first days always count.
MIN_REST: Final = 3 * 3_600
REST_FACTOR: Final = 4.0
RESTS_NEW: Final = 2 * DAY
RESTS_LAST: Final = 3 * WEEK
# How much earlier than ever a rest may begin, divided by the number of known rests plus one.
REST_EARLIER: Final = 2_700
# How much later it may end: batches take time, and clocks change twice a year.
REST_LATER: Final = 3_600
# The same weekday's rest may begin this much earlier, since only few are known.
REST_WEEKLY: Final = 3 * 3_600
WEEK_KNOWN: Final = 8 * DAY
WEEKEND: Final = 66 * 3_600
# Saturday and Sunday in UTC, which is close enough for a first day.
WEEKEND_DAYS: Final = (5, 6)
# The first day. In its first hours the person who set the agent up still watches, so a silence is reported; an agent
# that works longer than any working day does not rest at its end. In between a silence may be its first night.
NEW_REPORTED: Final = 9_000
NEW_DAY: Final = 14 * 3_600


class Rest(NamedTuple):
    """A long gap: when it began, in seconds since 1970, and its length in seconds."""

    begin: int
    length: int

    @property
    def is_of_days(self) -> bool:
        return self.length > DAY

    @property
    def night(self) -> int:
        """Its length without whole days."""
        return self.length % DAY

    def elapsed(self, at: float, every: int) -> float:
        """Seconds since it began, if it began again every day or week."""
        return (at - self.begin) % every


def read(state: Mapping[str, Any], beats: Sequence[BeatSeen]) -> dict[str, Any]:
    """Learn the gaps between heartbeats that showed progress."""
    updated = dict(state)
    for beat in beats:
        _read(updated, beat, beat.received_at.timestamp())
    return updated


def learned(state: Mapping[str, Any], last_progress_at: datetime | None) -> Learned:
    """What is known about an agent that showed progress last at that time."""
    return Learned(
        usual=median(state["gaps"]) if state.get("gaps") else None,
        longest=_longest(state),
        timeout=_timeout(state),
        quiet_until=_quiet_until_date(state, last_progress_at) if last_progress_at else None,
    )


def _quiet_until_date(state: Mapping[str, Any], last_progress_at: datetime) -> datetime | None:
    seconds = _quiet_until(state, last_progress_at.timestamp()) - last_progress_at.timestamp()
    return last_progress_at + timedelta(seconds=seconds) if seconds > 0 else None


def rests(state: Mapping[str, Any], last_progress_at: datetime | None) -> list[tuple[datetime, float]]:
    """When each rest that counts began, and how many seconds it took, oldest first."""
    if last_progress_at is None:
        return []
    believed = _believed(state, last_progress_at.timestamp())
    return [(datetime.fromtimestamp(rest.begin, UTC), float(rest.length)) for rest in believed]


# Learn


def _read(state: dict[str, Any], beat: BeatSeen, at: float) -> None:
    state.setdefault("first", at)
    if beat.note == STARTED:
        _start(state, at)
    if beat.progress and not state.get("at", at) - REST_LATER < at < state.get("at", at):
        _read_progress(state, at)
    if beat.waiting or beat.status == "shutdown":
        state["paused"] = True
    if beat.status == "shutdown":
        state["over"] = True
    state["beat"] = at


def _start(state: dict[str, Any], at: float) -> None:
    """A new process gets time to start, unless heartbeats had come without progress for too long before."""
    state["fresh"], state["paused"] = 0, True
    last = state.get("at", at)
    stuck = state.get("beat", at) > _due(state, last) and not state.get("over")
    if "begun" not in state and not stuck:
        state["begun"] = at


def _read_progress(state: dict[str, Any], at: float) -> None:
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
        # The second gap shows that the very first one was a rest.
        state["rests"] = [_stored_rest(last - gaps[0], gaps[0])]
        gaps, state["blocks"] = [], []
    if gap >= MIN_REST and gaps and gap >= REST_FACTOR * median(gaps):
        state["rests"] = [*state.get("rests", [])[1 - RESTS_KEPT :], _stored_rest(last, gap)]
        return
    if gap > MIN_PROGRESS:
        gap = min(gap, MAX_TEACHES * (_timeout(state) or gap))
    gap = max(0.1, round(gap, 1))
    state["gaps"] = [*gaps[1 - GAPS_KEPT :], gap]
    _block(state, gap, last + gap)


def _stored_rest(begin: float, length: float) -> list[int]:
    return [int(begin // MINUTE), int(length // MINUTE)]


def _block(state: dict[str, Any], gap: float, at: float) -> None:
    """Put the gap into its period's block, which holds the longest; a period without gaps holds 0."""
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
    """The longer gap of each pair of blocks, paired from the newest."""
    whole = blocks if len(blocks) % 2 == 0 else [0.0, *blocks]
    return [max(pair) for pair in zip(whole[::2], whole[1::2], strict=True)]


# Estimate


def _longest(state: Mapping[str, Any]) -> float | None:
    """The longest gap on an ordinary day: half of all days exceed it."""
    if not state.get("blocks"):
        return None
    longest = sorted((sqrt(block) for block in state["blocks"] if block), reverse=True)
    count = max(1, len(longest) // 2)
    least = longest[min(count, len(longest) - 1)]
    excess = sum(longest[:count]) / count - least
    days = _worked(state["blocks"], state["size"]) / DAY
    few = len(state["blocks"]) < BLOCKS_NEEDED
    level = least + excess * (1 + few / sqrt(count)) * max(0.0, log(count / days / log(2)))
    return float(level**2 if few else min(level, longest[0]) ** 2)


def _worked(blocks: Sequence[float], size: int) -> int:
    """Seconds the blocks cover, without whole days off, because an ordinary day is a day of work."""
    runs = [(is_off, sum(1 for _ in run)) for is_off, run in groupby(blocks, lambda block: not block)]
    days_off = sum(length * size // DAY for is_off, length in runs if is_off)
    return len(blocks) * size - days_off * DAY


def _timeout(state: Mapping[str, Any]) -> float | None:
    """Seconds without progress that are unusual; None while nothing is known."""
    longest = _longest(state)
    if longest is None:
        return None
    is_young = len(state["blocks"]) < BLOCKS_NEEDED
    factor = USUAL_FACTOR if state["size"] >= BLOCK_KNOWN else NEW_FACTOR
    return max(DEFAULT_PROGRESS_TIMEOUT if is_young else MIN_PROGRESS, factor * longest)


def _due(state: Mapping[str, Any], last: float) -> float:
    return max(last + (_timeout(state) or DEFAULT_PROGRESS_TIMEOUT), _quiet_until(state, last))


# Starts and rests


def _quiet_until(state: Mapping[str, Any], last: float) -> float:
    """Until when it may be starting or resting after progress at `last`; 0: only the timeout counts."""
    return max(_starting_until(state, last), _resting_until(state, last), _first_rest_until(state, last))


def _first_rest_until(state: Mapping[str, Any], last: float) -> float:
    """Until when an agent on its first day may rest; 0: it is too early for that, or it works day and night."""
    known_for = last - state.get("first", last)
    if not NEW_REPORTED <= known_for < NEW_DAY:
        return 0.0
    over = float(state["first"] + DAY + REST_LATER)
    while datetime.fromtimestamp(over, UTC).weekday() in WEEKEND_DAYS:
        over += DAY
    return over


def _starting_until(state: Mapping[str, Any], last: float) -> float:
    """Until when a new process may take to start; 0: it is not starting."""
    starts: list[float] = state.get("starts", [0.0])
    if "begun" not in state and state.get("fresh", START_GAPS) >= START_GAPS:
        return 0.0
    longest = max(DEFAULT_PROGRESS_TIMEOUT, _timeout(state) or 0.0, START_FACTOR * max(starts))
    return float(state.get("begun", last)) + longest


def _resting_until(state: Mapping[str, Any], last: float) -> float:
    """Until when it may rest, if it has rested at this hour before; 0: it has not."""
    believed = _believed(state, last)
    if not believed:
        return 0.0
    early = (_longest(state) or 0.0) + _spread(believed)
    ends = _nightly_ends(believed, last, early)
    if not ends:
        return 0.0
    ends += _weekly_ends(believed, last)
    if last - state["first"] < WEEK_KNOWN:
        ends.append(last + WEEKEND)
    return max(ends) + REST_LATER


def _nightly_ends(believed: Sequence[Rest], last: float, early: float) -> list[float]:
    """When the rests would end that may begin now, if they came every night; each may begin `early` seconds earlier."""
    at = last + early
    nights = [(rest.night, rest.elapsed(at, DAY)) for rest in believed]
    return [at + (night - elapsed) for night, elapsed in nights if elapsed <= night + early]


def _weekly_ends(believed: Sequence[Rest], last: float) -> list[float]:
    """When the rests of several days would end, if they came every week."""
    at = last + REST_WEEKLY
    return [at + (rest.length - rest.elapsed(at, WEEK)) for rest in believed if rest.is_of_days]


def _believed(state: Mapping[str, Any], last: float) -> list[Rest]:
    """Recent rests that others confirm: a stall that nobody fixed for hours is no habit."""
    stored = [Rest(begin * MINUTE, minutes * MINUTE) for begin, minutes in state.get("rests", [])]
    recent = [rest for rest in stored if last - rest.begin < RESTS_LAST]
    new = state.get("first", 0.0) + RESTS_NEW
    return [rest for rest in recent if rest.begin < new or rest.is_of_days or _has_similar(rest, recent)]


def _spread(believed: Sequence[Rest]) -> float:
    """How much earlier than ever a rest may begin: half of what their begins differ, more while few are known."""
    newest = believed[-1]
    offsets = [(rest.begin - newest.begin + DAY / 2) % DAY for rest in believed]
    near = [offset for offset in offsets if abs(offset - DAY / 2) < MIN_REST]
    return (max(near) - min(near)) / 2 + REST_EARLIER / (len(near) + 1)


def _has_similar(rest: Rest, others: Sequence[Rest]) -> bool:
    """Whether another rest covers the middle of this one's night."""
    middle = rest.begin + rest.night / 2
    return any(other != rest and other.elapsed(middle, DAY) <= other.night for other in others)
