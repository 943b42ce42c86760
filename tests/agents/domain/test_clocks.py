"""Deadlines as tables of cases."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from agents.domain import clocks
from agents.domain.clocks import Settings, Span
from agents.storage.outage_log import merged

T0 = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


@dataclass
class Rhythm:
    beats: int = 10
    last_beat_at: datetime | None = T0
    last_progress_at: datetime | None = T0
    usual_gap: float | None = None
    learned_progress_timeout: float | None = None
    quiet_until: datetime | None = None
    declared_interval: float | None = None
    declared_progress_timeout: float | None = None
    waiting_until: datetime | None = None


@pytest.mark.parametrize(
    ("settings", "rhythm", "seconds"),
    [
        (Settings(), Rhythm(), 60),
        (Settings(), Rhythm(usual_gap=30), 30),
        (Settings(), Rhythm(usual_gap=2), 30),
        (Settings(), Rhythm(usual_gap=2, beats=3), 60),
        (Settings(), Rhythm(usual_gap=600, beats=2), 600),
        (Settings(), Rhythm(usual_gap=600, declared_interval=5), 5),
        (Settings(interval=300), Rhythm(usual_gap=600, declared_interval=5), 300),
    ],
)
def test_interval_precedence(settings: Settings, rhythm: Rhythm, seconds: float) -> None:
    assert clocks.interval(settings, rhythm) == seconds


@pytest.mark.parametrize(
    ("settings", "every", "seconds"), [(Settings(), 60, 60), (Settings(), 1, 5), (Settings(grace=7), 60, 7)]
)
def test_grace_defaults_to_one_interval(settings: Settings, every: float, seconds: float) -> None:
    assert clocks.grace(settings, every) == seconds


@pytest.mark.parametrize(
    ("settings", "rhythm", "seconds"),
    [
        (Settings(), Rhythm(), 1800),
        (Settings(), Rhythm(learned_progress_timeout=400), 400),
        (Settings(), Rhythm(learned_progress_timeout=400, declared_progress_timeout=45), 45),
        (Settings(progress_timeout=90), Rhythm(declared_progress_timeout=45), 90),
    ],
)
def test_progress_timeout_precedence(settings: Settings, rhythm: Rhythm, seconds: float) -> None:
    assert clocks.progress_timeout(settings, rhythm) == seconds


def test_no_deadline_before_the_first_heartbeat() -> None:
    assert clocks.alive(Settings(), Rhythm(last_beat_at=None)) is None
    assert clocks.progress(Settings(), Rhythm(last_progress_at=None)) is None


def test_wait_moves_the_progress_deadline() -> None:
    waiting = Rhythm(waiting_until=at(1000), declared_progress_timeout=60)
    clock = clocks.progress(Settings(), waiting)
    assert clock is not None
    assert clock.deadline == at(1060)


@pytest.mark.parametrize(
    ("outages", "due", "deadline"),
    [
        ([], 60, 120),
        ([Span(at(-100), at(-50))], 60, 120),  # over before the last beat
        ([Span(at(10), at(310))], 360, 420),  # moved by all of it
        ([Span(at(-10), at(300))], 360, 420),  # only the part after the heartbeat counts
        ([Span(at(118), at(418))], 360, 483),  # nearly due: time to settle, 60 + 5 s
        ([Span(at(121), at(421))], 60, 120),  # began after the deadline, so it does not count
        ([Span(at(10), at(20)), Span(at(125), at(225))], 170, 290),  # the first moved the deadline into the second
    ],
)
def test_outages_move_deadlines(outages: list[Span], due: float, deadline: float) -> None:
    clock = clocks.alive(Settings(), Rhythm(), outages)
    assert clock == clocks.Clock(at(due), at(deadline))


@pytest.mark.parametrize(
    ("usual", "gap", "now_usual"),
    [
        (None, 600, 600),  # only one gap is known
        (60, 60, 60),
        (60, 90, 90),  # rises at once
        (60, 10_800, 240),  # a night offline raises it fourfold at most
        (240, 60, 222),  # falls slowly
        (0.1, 60, 60),  # a burst of pings does not keep it low
    ],
)
def test_learned_gap_rises_fast_and_falls_slowly(usual: float | None, gap: float, now_usual: float) -> None:
    assert clocks.learn(usual, gap, clocks.MIN_LEARNED) == pytest.approx(now_usual)


def test_overlapping_outages_count_once() -> None:
    assert merged([Span(at(5), at(20)), Span(at(0), at(10)), Span(at(30), at(40))]) == [
        Span(at(0), at(20)),
        Span(at(30), at(40)),
    ]


def test_deadlines_restart_after_a_pause() -> None:
    clock = clocks.alive(Settings(resumed_at=at(1000)), Rhythm())
    assert clock == clocks.Clock(at(1060), at(1120))


@pytest.mark.trial
@pytest.mark.parametrize(
    ("settings", "rhythm", "deadline"),
    [
        (Settings(), Rhythm(beats=1), 3_600),
        (Settings(), Rhythm(beats=2, usual_gap=1), 3_600),
        (Settings(grace=10), Rhythm(beats=1), 3_600),
        (Settings(), Rhythm(beats=3, usual_gap=20), 120),
        (Settings(interval=30), Rhythm(beats=1), 60),
        (Settings(), Rhythm(beats=1, declared_interval=30), 60),
    ],
)
def test_trial_is_not_judged_for_an_hour(settings: Settings, rhythm: Rhythm, deadline: float) -> None:
    clock = clocks.alive(settings, rhythm)
    assert clock is not None
    assert clock.deadline == at(deadline)


@pytest.mark.trial
def test_trial_is_not_stalled_within_the_hour() -> None:
    clock = clocks.progress(Settings(), Rhythm(beats=1))
    assert clock is not None
    assert clock.deadline == at(3_600)
    told = clocks.progress(Settings(progress_timeout=60), Rhythm(beats=1))
    assert told is not None
    assert told.deadline == at(60)
