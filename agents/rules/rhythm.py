"""The rhythm in which an agent shows progress, learned from its own gaps. No rule of its own: it sets a clock.

What is usual is the longest gap of an ordinary day: the median of the last 14 days' longest. Many short gaps do not
move it, so a burst teaches no impatience, and one bad day in 14 moves it as little. The timeout is 2.9 of these, and
at least 1.5 of the second longest gap in those days, where tails are heavy. Until three days are known it is four
times the longest gap so far, and not below half an hour on the first day unless the gaps are all alike.

Nights and weekends: in which quarters of an hour of the last three weeks the agent moved is kept, one bit each. When
it falls quiet, the days on which it moved at about that hour are asked how long it rested from there: the longest of
the same weekdays, or what four in five of those days kept to. Rests of an agent that is known to rest, and is not yet
known for a week, may last a weekend.

Starts have gaps of their own. Declared waits, and the time from a shutdown on, teach nothing.

Memory: 1 KB at most. Durations are seconds, times are seconds since 1970. The numbers were chosen on simulated agents
(`bench/stalls.py`): at most one false stall in 1,000 agent-days, 95 % of stalls within three usual gaps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from math import ceil
from statistics import median
from typing import Any, Final

from agents.clocks import PROGRESS_SMALLEST, PROGRESS_UNLEARNED
from agents.fold import STARTED
from agents.rules.base import BeatSeen, Learned

KIND = "rhythm"
DAY: Final = 86_400
SLOT: Final = 900
SLOTS_A_DAY: Final = DAY // SLOT
DAYS_MAPPED: Final = 21
DAYS_KEPT: Final = 14
GAPS_KEPT: Final = 31
STARTS_KEPT: Final = 5
# Gaps needed before they say anything, and days before they say what is ordinary.
LEARNED_AFTER: Final = 4
DAYS_NEEDED: Final = 3
USUAL_FACTOR: Final = 2.9
SECOND_FACTOR: Final = 1.5
YOUNG_FACTOR: Final = 4.0
# All gaps within this many of the median: a timer's rhythm, which can be trusted from the start.
ALIKE: Final = 2.0
# What one gap past its timeout may teach: a real stall is no rhythm, but two long gaps in a row are.
TEACHES_MOST: Final = 2.0
# The first gaps of a new process: it loads, and may say so in between.
START_GAPS: Final = 3
START_FACTOR: Final = 2.0
REST_LEAST: Final = 3 * 3_600
# Batches begin and end at about the same time, and clocks change twice a year.
REST_SLACK: Final = 3_600
REST_SHARE: Final = 0.8
NEAR_SLOTS: Final = 9
WEEK_KNOWN: Final = 8 * DAY
WEEKEND: Final = 66 * 3_600


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


def _read(state: dict[str, Any], beat: BeatSeen, at: float) -> None:
    state.setdefault("first", at)
    if beat.note == STARTED:
        _start(state, at)
    if beat.progress and not state.get("at", at) - REST_SLACK < at < state.get("at", at):
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
    paused, last = state.pop("paused", False), state.get("at", state["first"])
    state.pop("over", None)
    if begun is not None or state.get("fresh", START_GAPS) < START_GAPS:
        _learn_start(state, at - (last if begun is None else begun))
    elif "at" not in state:
        state["rest"] = at - last
    elif not paused and at > last:
        _learn(state, at - last, last)
    state["fresh"] = min(START_GAPS, state.get("fresh", START_GAPS) + 1)
    _mark(state, int(at // SLOT), anew=at < last)
    state["at"] = at


def _learn_start(state: dict[str, Any], gap: float) -> None:
    if state.get("fresh") == 0 or "starts" not in state:
        state["starts"] = [*state.get("starts", [])[1 - STARTS_KEPT :], 0.0]
    state["starts"][-1] = round(max(state["starts"][-1], gap), 1)


def _learn(state: dict[str, Any], gap: float, last: float) -> None:
    timeout = _timeout(state) or PROGRESS_UNLEARNED
    state["rest"] = max(state.get("rest", 0.0), gap)
    if gap > timeout and (_quiet_until(state, last) or gap > max(REST_LEAST, YOUNG_FACTOR * timeout)):
        return
    gap = round(min(gap, TEACHES_MOST * timeout), 1)
    state["gaps"] = [*state.get("gaps", [])[1 - GAPS_KEPT :], gap]
    day = int((last + gap) // DAY)
    if "day" in state and state["day"] != day:
        state["days"] = [*state.get("days", [])[1 - DAYS_KEPT :], state.pop("today")]
    state["day"], state["today"] = day, max(gap, state.get("today", 0.0))


def _mark(state: dict[str, Any], slot: int, *, anew: bool) -> None:
    """Set the bit of this quarter of an hour; bit 0 is the newest."""
    busy = 0 if anew else int(state.get("busy", "0"), 16)
    moved = min(DAYS_MAPPED * SLOTS_A_DAY, max(0, slot - state.get("slot", slot)))
    state["busy"] = f"{(busy << moved | 1) & ((1 << DAYS_MAPPED * SLOTS_A_DAY) - 1):x}"
    state["slot"] = slot


def _longest(memory: Mapping[str, Any]) -> float | None:
    """The longest gap of an ordinary day."""
    days: list[float] = memory.get("days", [])
    if len(days) >= DAYS_NEEDED:
        return median(days)
    return float(max([*days, memory["today"]])) if "today" in memory else None


def _timeout(memory: Mapping[str, Any]) -> float | None:
    """Seconds without progress that are unusual; None while too little is known."""
    gaps, days = memory.get("gaps", []), memory.get("days", [])
    longest = _longest(memory)
    if longest is None or len(gaps) < LEARNED_AFTER:
        return None
    if len(days) < DAYS_NEEDED:
        young = not days and longest > ALIKE * median(gaps)
        return max(PROGRESS_UNLEARNED if young else PROGRESS_SMALLEST, YOUNG_FACTOR * longest)
    second = float(sorted([*days, memory["today"]])[-2])
    return max(PROGRESS_SMALLEST, USUAL_FACTOR * longest, SECOND_FACTOR * second)


def _due(memory: Mapping[str, Any], last: float) -> float:
    return max(last + (_timeout(memory) or PROGRESS_UNLEARNED), _quiet_until(memory, last))


def _quiet_until(memory: Mapping[str, Any], last: float) -> float:
    """Until when it may start or rest after the progress of `last`; 0: nothing but the timeout counts."""
    starting = _starting_until(memory, last)
    resting = _rest(memory, last)
    return max(starting, last + resting + REST_SLACK if resting else 0.0)


def _starting_until(memory: Mapping[str, Any], last: float) -> float:
    starts: list[float] = memory.get("starts", [0.0])
    if "begun" not in memory and memory.get("fresh", START_GAPS) >= START_GAPS:
        return 0.0
    longest = max(PROGRESS_UNLEARNED, _timeout(memory) or 0.0, START_FACTOR * max(starts))
    return float(memory.get("begun", last)) + longest


def _rest(memory: Mapping[str, Any], last: float) -> float:
    """How long the agent may rest from `last` on, by what it did at this hour on other days."""
    if "first" not in memory or memory.get("rest", 0.0) < REST_LEAST:
        return 0.0
    rests = _rests(memory, last)
    near = {day: rest for day, (rest, is_near) in rests.items() if is_near}
    asked = sorted((near or {day: rest for day, (rest, _) in rests.items()}).values())
    most = asked[ceil(REST_SHARE * len(asked)) - 1] if asked else 0.0
    most = max([most, *(rest for day, rest in near.items() if day % 7 == 0)])
    if last - memory["first"] < WEEK_KNOWN and (most or not near):
        return max(most, WEEKEND)
    return most


def _rests(memory: Mapping[str, Any], last: float) -> dict[int, tuple[float, bool]]:
    """For each day before: how long it rested from this hour on, and whether it had moved in the two hours before."""
    busy, slot = int(memory.get("busy", "0"), 16), int(last // SLOT)
    timeout = _timeout(memory) or PROGRESS_UNLEARNED
    found: dict[int, tuple[float, bool]] = {}
    for day in range(1, DAYS_MAPPED):
        place = memory.get("slot", slot) - slot + day * SLOTS_A_DAY
        if (slot - day * SLOTS_A_DAY) * SLOT < memory["first"]:
            break
        # The highest bit below is the next quarter of an hour in which it moved.
        rest = (place - (busy & ((1 << max(0, place)) - 1)).bit_length() + 1) * SLOT
        found[day] = (float(rest) if rest > timeout else 0.0, bool(busy >> max(0, place) & ((1 << NEAR_SLOTS) - 1)))
    return found
