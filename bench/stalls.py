#!/usr/bin/env python3
"""Accuracy of stall detection: bench/stalls.py [--seeds 11 12] [--agents 34] [--days 30] [--kind bursty].

Simulates 30 days of agents of each kind and runs the server's own code on them with a simulated clock: what each
progress teaches (`rhythm.read`), the resulting deadline (`clocks.progress`), and the finding past it (`stalled.check`).
Heartbeats without progress change nothing, so they are left out, except for the last one before a new process.

An agent's usual gap is its longest gap on an ordinary day: the median over its days of each day's longest gap of work,
without nights, starts and declared waits. Stalls are injected at 40 random moments of work after the first hour. A
stall is found in time if its deadline is within 3 usual gaps of the last progress, or 5 minutes if that is longer. A
false stall is a normal gap beyond the deadline; first nights and weekends count, too.

Columns:
  false/1000 days  per 1,000 agent-days; at most 1 over all kinds
  found %          injected stalls found in time; at least 95 over all kinds. For a single kind it depends on how much
                   of its time is its first day, or close to its rest
  at rest %        stalls injected at an hour at which the agent may go to rest once in 1,000 days, by the spread of its
                   own rests. Timing cannot tell these apart
  by median %      found within 3 times the median gap instead
  beyond %         agents whose longest normal gap exceeds 3 median gaps, which would be a false stall: why the median
                   gap is not the measure
  p50, p95         delays in usual gaps, or in units of 100 seconds if that is longer
  bytes            the largest state, as JSON

Kinds marked with * cannot meet both targets with any rule; they show what that costs. Where gaps have no upper bound,
the longest gap in 1,000 days far exceeds 3 times the daily one. Where the begin of the rest is as uncertain as the work
is long, most stalls may be the end of the work. Such agents declare `waiting(…)` when they are done, use `tool(…,
timeout=…)`, or get a timeout. Agents with hours between steps alert once, at their first gap, because one that hangs in
its first step should not go unnoticed for a day; they declare a timeout. Exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from agents.domain import clocks
from agents.domain.notes import STARTED
from agents.rules import stalled
from agents.rules.facts import BeatSeen, Facts
from agents.rules.observers import rhythm
from bench.simulated import DAY, EPOCH, HOUR, KINDS, MINUTE, UNCOUNTED, Event

BEAT = 60.0
MAX_FALSE, MIN_FOUND = 1.0, 95.0
INJECTED = 40
# Standard deviations.
ONCE_IN_1000 = 3.09
# Not tuned on.
SEEDS = (2_026, 77_003)


# -- the server's side of one agent


@dataclass
class Row:
    """The columns of the hot row that the clock and the rule read."""

    last_progress_at: datetime | None = None
    last_beat_at: datetime | None = None
    waiting_until: datetime | None = None
    waiting_for: str = ""
    learned_progress_timeout: float | None = None
    quiet_until: datetime | None = None
    beats: int = 100
    usual_gap: float | None = BEAT
    declared_interval: float | None = BEAT
    declared_progress_timeout: float | None = None
    reported: str = "ok"
    crashed: bool = False
    restart_type: str = ""


@dataclass
class Watched:
    """An agent as the server knows it: its hot row and the state of the rhythm observer."""

    row: Row = field(default_factory=Row)
    state: dict[str, Any] = field(default_factory=dict)

    def take(self, event: Event) -> None:
        at = moment(event.at)
        if event.what == "start":
            self._read(BeatSeen(at - timedelta(seconds=BEAT), "ok"), BeatSeen(at, "ok", note=STARTED))
            return
        if event.what == "wait":
            self.row.waiting_until = moment(event.until)
            self._read(BeatSeen(at, "ok", waiting="approval"))
            return
        if self.row.waiting_until:
            self.row.waiting_until = min(self.row.waiting_until, at)
        self.row.last_progress_at = at
        self._read(BeatSeen(at, "ok", progress=True))

    def _read(self, *beats: BeatSeen) -> None:
        self.state = rhythm.read(self.state, beats)

    def deadline(self) -> datetime:
        learned = rhythm.learned(self.state, self.row.last_progress_at)
        self.row.learned_progress_timeout, self.row.quiet_until = learned.timeout, learned.quiet_until
        clock = clocks.progress(clocks.Settings(), self.row)
        assert clock is not None
        return clock.deadline

    def says_stalled(self, now: datetime) -> bool:
        """Whether the rule finds a stall at this moment, while the process keeps sending heartbeats."""
        self.deadline()
        self.row.last_beat_at = now
        settings, learned = clocks.Settings(), rhythm.learned(self.state, self.row.last_progress_at)
        row: Any = self.row  # only the columns that this rule reads
        facts = Facts(
            now=now,
            row=row,
            alive=clocks.alive(settings, self.row),
            progress=clocks.progress(settings, self.row),
            interval=BEAT,
            today=now.date(),
            rhythm=learned,
        )
        return stalled.check(facts) is not None


def moment(at: float) -> datetime:
    return EPOCH + timedelta(seconds=at)


# One agent's month


class Month(NamedTuple):
    """`delays` are seconds until injected stalls are found, `honest` is the longest normal gap of work in seconds.

    `at_rest` counts stalls injected at an hour at which the agent may go to rest, see `_may_rest`.
    """

    days: float
    false: int
    delays: list[float]
    at_rest: int
    usual: float
    middle: float
    honest: float
    size: int


def month(kind: str, seed: str, days: float) -> Month:
    rng = random.Random(f"{seed} {kind}")
    events = list(KINDS[kind](rng, days * DAY))
    gaps = _gaps(events)
    injected = rng.choices(list(gaps), weights=list(gaps.values()), k=INJECTED)
    may_rest, times = _may_rest(events), Counter(injected)
    watched, false, size, delays = Watched(), 0, 0, []
    for place, event in enumerate(events):
        if event.what == "work" and _is_late(watched, moment(event.at)):
            false += 1
        watched.take(event)
        if place in times:
            size = max(size, len(json.dumps(watched.state)))
            delays += [_delay(watched, event)] * times[place]
    at_rest = sum(may_rest(events[place].at) for place in injected)
    usual, middle = _usual(events, gaps), statistics.median(gaps.values())
    days = (events[-1].at - events[0].at) / DAY
    return Month(
        days=days,
        false=false,
        delays=delays,
        at_rest=at_rest,
        usual=usual,
        middle=middle,
        honest=max(gaps.values()),
        size=size,
    )


def _is_late(watched: Watched, at: datetime) -> bool:
    """Whether a stall was found before this progress."""
    last = watched.row.last_progress_at
    if last is None or at - last <= timedelta(seconds=clocks.MIN_PROGRESS):
        return False
    return at > watched.deadline() and watched.says_stalled(at)


def _may_rest(events: Sequence[Event]) -> Callable[[float], bool]:
    """Whether the agent goes to rest at that hour or earlier once in 1,000 days, so silence can be either."""
    pairs = itertools.pairwise(events)
    rests = [one.at for one, after in pairs if one.what == after.what == "work" and after.resumes]
    if not rests:
        return lambda at: False
    hour = rests[0]

    def apart(at: float) -> float:
        return (at - hour + DAY / 2) % DAY - DAY / 2

    ends = [apart(end) for end in rests]
    earliest = statistics.mean(ends) - ONCE_IN_1000 * statistics.pstdev(ends)
    return lambda at: apart(at) >= earliest


def _delay(watched: Watched, event: Event) -> float:
    """Seconds until a stall right after this progress is found, checked with the rule, not just the deadline."""
    deadline = watched.deadline()
    assert not watched.says_stalled(deadline - timedelta(seconds=1))
    assert watched.says_stalled(deadline)
    return (deadline - moment(event.at)).total_seconds()


def _gaps(events: Sequence[Event]) -> dict[int, float]:
    """Normal gaps of work by index of the event before them: no rests, starts or declared waits."""
    pairs = [(place, before, after) for place, (before, after) in enumerate(itertools.pairwise(events))]
    return {
        place: after.at - before.at
        for place, before, after in pairs
        if before.what == after.what == "work" and not after.resumes and before.at > HOUR
    }


def _usual(events: Sequence[Event], gaps: dict[int, float]) -> float:
    longest: dict[int, float] = {}
    for place, gap in gaps.items():
        day = int(events[place].at // DAY)
        longest[day] = max(gap, longest.get(day, 0.0))
    return statistics.median(longest.values())


# The table


class Line(NamedTuple):
    false: float
    found: float
    at_rest: float
    by_middle: float
    beyond: float
    half: float
    most: float
    size: int
    days: float
    agents: int

    @property
    def is_met(self) -> bool:
        return self.false <= MAX_FALSE and self.found >= MIN_FOUND


def line(months: Sequence[Month]) -> Line:
    days = sum(one.days for one in months)
    delays = [(delay, one) for one in months for delay in one.delays]
    shares = sorted(delay / max(one.usual, 100.0) for delay, one in delays)
    in_time = sum(delay <= max(3 * one.usual, 5 * MINUTE) for delay, one in delays)
    by_middle = sum(delay <= max(3 * one.middle, 5 * MINUTE) for delay, one in delays)
    beyond = sum(one.honest > max(3 * one.middle, 5 * MINUTE) for one in months)
    return Line(
        false=1_000 * sum(one.false for one in months) / days,
        found=100 * in_time / len(delays),
        at_rest=100 * sum(one.at_rest for one in months) / (INJECTED * len(months)),
        by_middle=100 * by_middle / len(delays),
        beyond=100 * beyond / len(months),
        half=shares[len(shares) // 2],
        most=shares[int(0.95 * len(shares))],
        size=max(one.size for one in months),
        days=days,
        agents=len(months),
    )


def measure(kinds: Sequence[str], seed: int, agents: int, days: float) -> dict[str, list[Month]]:
    jobs = [
        (kind, f"{seed} {number}", days)
        for kind in kinds
        for number in range(agents // (3 if kind in UNCOUNTED else 1))
    ]
    with multiprocessing.Pool() as pool:
        months = pool.starmap(month, jobs, chunksize=4)
    return {kind: [one for one, job in zip(months, jobs, strict=True) if job[0] == kind] for kind in kinds}


TITLES = ("false/1000 days", "found %", "at rest %", "by median %", "beyond %", "p50", "p95", "bytes")


def show(seed: int, found: dict[str, list[Month]]) -> bool:
    print(
        f"\n{f'seed {seed}':15}"
        + "".join(f"{title:>{max(8, len(title) + 2)}}" for title in TITLES)
        + f"{'agent-days':>12}"
    )
    for kind, months in found.items():
        print(cells_of(kind + ("*" if kind in UNCOUNTED else ""), line(months)))
    counted = [month for kind, months in found.items() if kind not in UNCOUNTED for month in months]
    if not counted:
        return True
    together = line(counted)
    print(cells_of("together", together) + ("" if together.is_met else "  MISSED"))
    return together.is_met


def cells_of(name: str, one: Line) -> str:
    cells = [f"{one.false:.2f}", f"{one.found:.1f}", f"{one.at_rest:.1f}", f"{one.by_middle:.1f}"]
    cells += [f"{one.beyond:.0f}", f"{one.half:.2f}", f"{one.most:.2f}", f"{one.size:,}"]
    columns = zip(cells, TITLES, strict=True)
    return f"{name:15}" + "".join(f"{cell:>{max(8, len(title) + 2)}}" for cell, title in columns) + f"{one.days:12,.0f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--agents", type=int, default=34, help="agents per kind")
    parser.add_argument("--days", type=float, default=30)
    parser.add_argument("--kind", choices=KINDS, action="append")
    options = parser.parse_args()
    began, good = time.perf_counter(), True
    for seed in options.seeds:
        good = show(seed, measure(options.kind or list(KINDS), seed, options.agents, options.days)) and good
    print(f"\n{time.perf_counter() - began:.0f} seconds. {'Targets met.' if good else 'A target is MISSED.'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
