"""An agent's learned rhythm: bursts, nights, weekends, starts and waits, in a small state."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agents.domain.notes import STARTED
from agents.rules.facts import BeatSeen, Learned
from agents.rules.observers import rhythm

# A Monday, midnight.
T0 = datetime(2026, 6, 1, tzinfo=UTC)
MIN, HOUR, DAY = 60.0, 3_600.0, 86_400.0
Memory = dict[str, Any]


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def moved(seconds: float) -> BeatSeen:
    return BeatSeen(at(seconds), "ok", progress=True)


def learned(times: Iterable[float], memory: Memory | None = None) -> Memory:
    return rhythm.read(memory or {}, [moved(time) for time in times])


def every(gap: float, start: float, end: float) -> list[float]:
    return [start + gap * n for n in range(int((end - start) / gap) + 1)]


def office(days: Iterable[int], gap: float = 5 * MIN) -> list[float]:
    """Work from 8:00 to 18:00 on these days."""
    return [time for day in days for time in every(gap, day * DAY + 8 * HOUR, day * DAY + 18 * HOUR)]


def known(memory: Memory, last: float) -> Learned:
    return rhythm.learned(memory, at(last))


def quiet_for(memory: Memory, last: float) -> float:
    """Seconds after the last progress without a stall, beyond the timeout."""
    until = known(memory, last).quiet_until
    return (until - at(last)).total_seconds() if until else 0.0


def test_nothing_is_known_without_progress() -> None:
    memory = rhythm.read({}, [BeatSeen(at(0), "ok"), BeatSeen(at(60), "ok")])
    assert rhythm.learned(memory, None) == Learned()


def test_one_progress_is_no_rhythm() -> None:
    assert known(learned([0]), 0) == Learned()


def test_timer_gets_twice_its_gap_and_more() -> None:
    memory = learned(every(10 * MIN, 0, 10 * DAY))
    found = known(memory, 10 * DAY)
    assert (found.usual, found.quiet_until) == (600, None)
    assert found.longest == pytest.approx(600)
    assert found.timeout == pytest.approx(2.65 * 600)


def test_timeout_is_shorter_while_little_is_known() -> None:
    assert known(learned(every(10 * MIN, 0, DAY)), DAY).timeout == pytest.approx(2.4 * 600)


def test_fast_agents_get_five_minutes() -> None:
    assert known(learned(every(20, 0, 5 * HOUR)), 5 * HOUR).timeout == 300


def test_first_hours_get_half_an_hour() -> None:
    assert known(learned(every(20, 0, HOUR)), HOUR).timeout == 1800


def test_first_gap_of_a_day_is_allowed_again() -> None:
    assert (known(learned([0, DAY]), DAY).timeout or 0) >= 2 * DAY


def test_second_gap_reveals_that_the_first_was_a_night() -> None:
    memory = learned([18 * HOUR, *office([1])])
    assert known(memory, DAY + 18 * HOUR).timeout == pytest.approx(2.4 * 5 * MIN)
    assert memory["rests"] == [[(at(18 * HOUR).timestamp()) // 60, 14 * 60]]


def test_bursts_teach_no_impatience() -> None:
    pauses = every(20 * MIN, 0, 5 * DAY)
    memory = learned(sorted(pause + 2 * n for pause in pauses for n in range(50)))
    found = known(memory, 5 * DAY)
    assert found.usual == 2
    assert (found.timeout or 0) > 40 * MIN


def test_one_bad_day_moves_little() -> None:
    times = every(5 * MIN, 0, 14 * DAY)
    before = known(learned(times), 14 * DAY).timeout or 0
    memory = learned([time for time in times if not 9 * DAY < time < 9 * DAY + 2 * HOUR])
    assert known(memory, 14 * DAY).timeout == pytest.approx(before, rel=0.15)


def test_two_long_gaps_in_a_row_are_learned() -> None:
    memory = learned(every(MIN, 0, DAY))
    before = known(memory, DAY).timeout or 0
    after = known(learned([DAY + HOUR, DAY + 2 * HOUR, DAY + 3 * HOUR], memory), DAY + 3 * HOUR).timeout or 0
    assert after > 1.5 * before


def test_nights_are_no_stalls_from_the_first_one_on() -> None:
    morning, evening = 8 * HOUR, 18 * HOUR
    assert quiet_for(learned(office([0])), evening) == pytest.approx(DAY + HOUR - (evening - morning))
    assert quiet_for(learned(office([0, 1])), DAY + evening) > 14 * HOUR


@pytest.mark.parametrize(("hours", "may_rest"), [(1, False), (2.4, False), (2.6, True), (13.9, True), (14.1, False)])
def test_first_day_stalls_outside_working_hours(hours: float, may_rest: bool) -> None:
    memory = learned(every(5 * MIN, 0, hours * HOUR))
    assert (quiet_for(memory, hours * HOUR) > 0) is may_rest


def test_missing_second_day_is_a_stall() -> None:
    last = 6 * HOUR
    assert quiet_for(learned(every(5 * MIN, 0, last)), last) == DAY + HOUR - last


def test_first_day_before_a_weekend_ends_after_it() -> None:
    friday, monday = 4 * DAY + 18 * HOUR, 7 * DAY + 8 * HOUR
    assert quiet_for(learned(office([4])), friday) == monday + HOUR - friday


def test_night_that_does_not_end_is_a_stall() -> None:
    memory = learned(office(range(12)))
    assert quiet_for(memory, 11 * DAY + 18 * HOUR) == pytest.approx(15 * HOUR, abs=0.5 * HOUR)


@pytest.mark.parametrize("hour", [8.5, 11, 14, 16.5])
def test_no_rest_during_the_day(hour: float) -> None:
    memory = learned([time for time in office(range(10)) if time <= 9 * DAY + hour * HOUR])
    assert quiet_for(memory, 9 * DAY + hour * HOUR) == 0


def test_day_may_end_a_little_earlier() -> None:
    last = 9 * DAY + 17.9 * HOUR
    assert quiet_for(learned([time for time in office(range(10)) if time <= last]), last) > 12 * HOUR


def test_irregular_agents_may_end_their_day_earlier() -> None:
    """Its next step would have been after the end of the day."""
    times = [time for time in office(range(3), 10 * MIN) if not 12 * HOUR < time % DAY < 12.8 * HOUR]
    last = 2 * DAY + 17.3 * HOUR
    assert quiet_for(learned([time for time in times if time <= last]), last) > 14 * HOUR


def test_days_off_do_not_count_as_work() -> None:
    rng = random.Random(5)
    days = [[time for time in office([0]) if rng.random() < 0.3] for _ in range(20)]
    weekdays = [day for day in range(28) if day % 7 < 5]
    in_a_row = learned([time + day * DAY for day, times in enumerate(days) for time in times])
    with_weekends = learned([time + day * DAY for day, times in zip(weekdays, days, strict=True) for time in times])
    longest = [known(memory, 30 * DAY).longest or 0 for memory in (in_a_row, with_weekends)]
    assert longest[1] == pytest.approx(longest[0], rel=0.05)


def test_first_weekend_is_allowed() -> None:
    friday = 4 * DAY + 18 * HOUR
    assert quiet_for(learned(office(range(5))), friday) > 62 * HOUR


def test_weekends_differ_from_nights() -> None:
    weekdays = [day for day in range(26) if day % 7 < 5]
    memory = learned(office(weekdays))
    friday, thursday = 25 * DAY + 18 * HOUR, 24 * DAY + 18 * HOUR
    assert 62 * HOUR < quiet_for(memory, friday) < 66 * HOUR
    memory = learned(office(weekdays[:-1]))
    assert 14 * HOUR < quiet_for(memory, thursday) < 16 * HOUR


def test_long_unfixed_stall_is_no_habit() -> None:
    stuck = [time for time in every(5 * MIN, 0, 10 * DAY) if not 8 * DAY < time < 8 * DAY + 7 * HOUR]
    assert len(learned(stuck)["rests"]) == 1
    assert quiet_for(learned(stuck), 9 * DAY) == 0


def test_nightly_batch_is_monitored_while_it_runs() -> None:
    nights = [time for day in range(10) for time in every(2 * MIN, day * DAY, day * DAY + 4 * HOUR)]
    memory = learned(nights)
    assert quiet_for(memory, 9 * DAY + 4 * HOUR) > 20 * HOUR
    assert quiet_for(memory, 9 * DAY + 2 * HOUR) == 0
    assert known(memory, 9 * DAY + 4 * HOUR).timeout == pytest.approx(318, abs=1)


def test_start_of_a_process_is_no_gap() -> None:
    memory = learned(every(MIN, 0, 6 * HOUR))
    before = known(memory, 6 * HOUR).timeout
    memory = rhythm.read(memory, [BeatSeen(at(6 * HOUR + 30), "ok", note=STARTED)])
    assert quiet_for(memory, 6 * HOUR) >= 30 * MIN
    memory = learned([6 * HOUR + 25 * MIN, *every(MIN, 6 * HOUR + 26 * MIN, 6 * HOUR + 30 * MIN)], memory)
    assert known(memory, 6.5 * HOUR).timeout == before


def test_slow_starts_are_learned() -> None:
    memory = learned(every(MIN, 0, HOUR))
    for start in (HOUR, 3 * HOUR):
        begun = BeatSeen(at(start + 30), "ok", note=STARTED)
        memory = learned(every(MIN, start + 40 * MIN, start + 2 * HOUR), rhythm.read(memory, [begun]))
    memory = rhythm.read(memory, [BeatSeen(at(5 * HOUR + 30), "ok", note=STARTED)])
    assert quiet_for(memory, 5 * HOUR) >= 78 * MIN


def test_stuck_process_gets_no_more_time_to_start() -> None:
    memory = learned(every(MIN, 0, 16 * HOUR))
    beats = [BeatSeen(at(16 * HOUR + MIN * n), "ok") for n in range(1, 60)]
    memory = rhythm.read(memory, [*beats, BeatSeen(at(17 * HOUR), "ok", note=STARTED)])
    assert quiet_for(memory, 16 * HOUR) < HOUR


@pytest.mark.parametrize("end", [BeatSeen(at(6 * HOUR), "ok", waiting="x"), BeatSeen(at(6 * HOUR), "shutdown")])
def test_waits_and_shutdowns_teach_nothing(end: BeatSeen) -> None:
    memory = learned(every(MIN, 0, 6 * HOUR))
    before = {name: memory[name] for name in ("gaps", "blocks")}
    memory = rhythm.read(memory, [end, moved(8 * HOUR)])
    assert {name: memory[name] for name in before} == before


def wild(seed: int, steps: int = 4_000) -> list[BeatSeen]:
    """Any kinds of heartbeats in any order; the clock is set back now and then."""
    rng, time, beats = random.Random(seed), 0.0, []
    for _ in range(steps):
        time += rng.choice([0, 0.001, 1, 60, 900, 4 * HOUR, 30 * HOUR, -5, -2 * HOUR]) * rng.random()
        fields: dict[str, Any] = rng.choice([{"progress": True}] * 6 + [{"waiting": "x"}, {"note": STARTED}, {}])
        beats.append(BeatSeen(at(time), rng.choice(["ok", "ok", "ok", "error", "shutdown"]), **fields))
    return beats


@pytest.mark.parametrize("seed", range(4))
def test_state_stays_small(seed: int) -> None:
    memory: Memory = {}
    for beat in wild(seed):
        memory = rhythm.read(memory, [beat])
        assert len(json.dumps(memory)) <= 1_500
    assert (rhythm.learned(memory, at(0)).timeout or 300) >= 300


def test_replay_from_stored_state_is_identical() -> None:
    beats = wild(9, 600)
    stored: Memory = {}
    for beat in beats:
        stored = rhythm.read(json.loads(json.dumps(stored)), [beat])
    assert stored == rhythm.read({}, beats)


def test_read_does_not_change_its_input() -> None:
    memory = learned(every(MIN, 0, HOUR))
    before = json.dumps(memory)
    rhythm.read(memory, [moved(HOUR + 400), BeatSeen(at(2 * HOUR), "ok", note=STARTED), moved(2 * HOUR + 60)])
    assert json.dumps(memory) == before
