"""Runs against a schedule, with the clock passed in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agents.domain import jobs
from agents.domain.clocks import Span
from agents.domain.jobs import Event, Job, Run
from agents.domain.jobs.schedules import Schedule

T0 = datetime(2026, 5, 4, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def runs(*events: tuple[float, str] | tuple[float, str, str]) -> list[Run]:
    known: list[Run] = []
    for seconds, event, *rid in events:
        known = jobs.add(known, Event(event=event, at=at(seconds), rid=rid[0] if rid else ""))
    return known


def job(known: list[Run] | None = None, **settings: Any) -> Job:
    fields = {"kind": "cron", "expression": "0 * * * *", "grace": 600.0, "max_duration": 1_200.0, "since": T0}
    outages = settings.pop("outages", ())
    resumed_at = settings.pop("resumed_at", None)
    schedule = Schedule(**{**fields, **settings})
    return Job(schedule=schedule, runs=known or [], outages=outages, resumed_at=resumed_at)


def due(made: Job) -> float | None:
    found = jobs.next_due(made)
    return None if found is None else (found.at - T0).total_seconds()


def overlong(made: Job) -> list[float]:
    return [(limit - T0).total_seconds() for _, limit in jobs.overlong(made)]


def test_first_run_is_expected_from_the_schedules_start() -> None:
    assert due(job()) == 3_600
    assert due(job(kind="period", period=900.0)) == 900
    assert due(job(kind="none")) is None


def test_a_start_or_a_success_serves_its_time() -> None:
    assert due(job(runs((3_605, "start"), (3_700, "success")))) == 7_200
    assert due(job(runs((3_605, "success")))) == 7_200
    assert due(job(runs((3_605, "log")))) == 3_600


def test_a_start_moments_early_serves_the_next_time() -> None:
    assert due(job(runs((3_590, "success")))) == 7_200
    assert due(job(runs((3_580, "success")))) == 3_600
    assert due(job(runs((50, "success")), expression="* * * * *")) == 120


def test_a_run_in_progress_explains_the_next_one() -> None:
    long = {"max_duration": 7_000.0}
    assert due(job(runs((3_600, "start")), **long)) == 10_800 + 0
    assert due(job(runs((3_600, "start"), (8_000, "success")), **long)) == 10_800
    assert due(job(runs((3_600, "start"), (7_300, "fail")), **long)) == 10_800
    assert due(job(runs((3_600, "start")))) == 7_200


def test_period_counts_from_the_end_of_the_run() -> None:
    made = job(runs((0, "start"), (100, "success")), kind="period", period=900.0)
    assert due(made) == 1_000


def test_nothing_is_expected_while_the_watchdog_was_offline() -> None:
    outage = Span(at(3_500), at(3_700))
    assert due(job(outages=[outage])) == 7_200
    assert due(job(outages=[Span(at(3_500), at(10_000))])) == 10_800
    assert due(job(kind="period", period=900.0, grace=60.0, outages=[Span(at(850), at(1_900))])) == 2_700
    assert overlong(job(runs((3_600, "start")), outages=[Span(at(4_000), at(4_010))])) == []


def test_resuming_starts_over() -> None:
    assert due(job(resumed_at=at(4_000))) == 7_200
    assert overlong(job(runs((3_600, "start")), resumed_at=at(4_000))) == []


def test_overlapping_runs_are_told_apart_by_their_id() -> None:
    known = runs((0, "start", "a"), (600, "start", "b"), (700, "success", "b"))
    assert [(run.rid, run.is_open) for run in known] == [("a", True), ("b", False)]
    assert overlong(job(known)) == [1_200]
    assert overlong(job(runs((0, "start", "a"), (600, "start", "b")))) == [1_200, 1_800]


def test_later_success_ends_a_run_that_took_too_long() -> None:
    known = runs((0, "start", "a"), (3_600, "start", "b"))
    assert overlong(job(known)) == [1_200, 4_800]
    known = jobs.add(known, Event(event="success", at=at(3_700), rid="b"))
    assert overlong(job(known)) == []
    assert job(known).running_since is None


def test_start_without_an_id_replaces_the_last() -> None:
    known = runs((0, "start"), (3_600, "start"))
    assert [run.began for run in known] == [at(3_600)]
    assert overlong(job(known)) == [4_800]


def test_repeated_pings_change_nothing() -> None:
    known = runs((0, "start", "a"), (1, "start", "a"), (9, "fail", "a"), (10, "fail", "a"))
    assert [(run.began, run.ended) for run in known] == [(at(0), at(9))]


@pytest.mark.parametrize("rid", ["", "a"])
def test_late_start_belongs_to_the_run_that_ended(rid: str) -> None:
    """It was stored while the server was down; the run's end arrived first."""
    known = runs((700, "success", rid), (600, "start", rid))
    assert [(run.began, run.ended) for run in known] == [(at(600), at(700))]
    assert overlong(job(known)) == []


def test_late_start_replaces_no_later_one() -> None:
    assert [run.began for run in runs((3_600, "start"), (600, "start"))] == [at(3_600)]
    known = runs((3_600, "start"), (3_700, "success"), (600, "start"))
    assert [(run.began, run.ended) for run in known] == [(at(3_600), at(3_700))]


def test_late_end_ends_no_later_run() -> None:
    known = runs((3_600, "start"), (700, "success"))
    assert [(run.began, run.ended) for run in known] == [(None, at(700)), (at(3_600), None)]
    delayed = runs((3_600, "start"), (3_599, "success"))
    assert [(run.began, run.ended) for run in delayed] == [(at(3_600), at(3_600))]


def test_late_runs_are_sorted_in() -> None:
    known = runs((3_600, "start", "b"), (3_700, "success", "b"), (0, "start", "a"), (50, "fail", "a"))
    assert [run.rid for run in known] == ["a", "b"]
    last = jobs.last_ended(known)
    assert last is not None
    assert last.ok


def test_end_without_a_start_is_a_run() -> None:
    known = runs((5, "success"), (10, "success"))
    assert [(run.began, run.ended) for run in known] == [(None, at(5)), (None, at(10))]


def test_runs_are_bounded_and_open_ones_kept_longest() -> None:
    known = runs((0, "start", "a"), *((float(i), "success") for i in range(1, 60)))
    assert len(known) == jobs.MAX_RUNS
    assert known[0].rid == "a"


def test_only_the_last_failure_keeps_its_output() -> None:
    known: list[Run] = []
    for seconds, event in ((1, "fail"), (2, "fail")):
        known = jobs.add(known, Event(event=event, at=at(seconds), output="x" * 5_000))
    assert [len(run.output) for run in known] == [0, jobs.MAX_OUTPUT]
    known = jobs.add(known, Event(event="success", at=at(3)))
    assert all(run.output == "" for run in known)


def test_second_run_for_one_time_is_counted() -> None:
    slot = jobs.last_slot(job(runs((3_601, "success"), (3_900, "success"))))
    assert slot is not None
    assert (len(slot.runs), slot.until) == (2, at(7_200))
    retried = jobs.last_slot(job(runs((3_601, "fail"), (3_900, "success"))))
    assert retried is not None
    assert len(retried.runs) == 1
    on_time = jobs.last_slot(job(runs((3_601, "success"), (7_195, "success"))))
    assert on_time is not None
    assert len(on_time.runs) == 1


def test_default_schedule_says_nothing_about_too_often() -> None:
    assert jobs.last_slot(job(runs((1, "success"), (2, "success")), kind="period", is_default=True)) is None


def test_runs_of_an_earlier_schedule_do_not_count() -> None:
    """Hourly until now, once a day from now on: the runs since the last daily time were right when they began."""
    hourly = runs((3_600, "success"), (7_200, "success"), (10_800, "success"))
    daily: dict[str, Any] = {"expression": "30 3 * * *", "since": at(11_000)}
    assert jobs.last_slot(job(hourly, **daily)) is None
    assert jobs.last_slot(job(runs((3_601, "success"), (3_900, "success")), resumed_at=at(4_000))) is None
    slot = jobs.last_slot(job([*hourly, *runs((12_605, "success"))], **daily))
    assert slot is not None
    assert len(slot.runs) == 1


def test_runs_survive_storage() -> None:
    known = runs((0, "start", "a"), (9, "fail", "b"))
    assert jobs.decode(jobs.encode(known)) == known
