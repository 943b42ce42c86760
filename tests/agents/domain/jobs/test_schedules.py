"""When jobs are expected, across changes of the clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from agents.domain.jobs import schedules
from agents.domain.jobs.schedules import Schedule

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def schedule(kind: str = "cron", expression: str = "", time_zone: str = "UTC", period: float = 3_600) -> Schedule:
    return Schedule(
        kind=kind,  # type: ignore[arg-type]
        since=T0,
        period=period,
        expression=expression,
        time_zone=time_zone,
    )


def following(made: Schedule, start: str, count: int) -> list[str]:
    """The next times after `start`, a local time with its offset, as local times."""
    moment, times = datetime.fromisoformat(start), []
    for _ in range(count):
        moment = schedules.next_after(made, moment, moment) or moment
        times.append(moment.astimezone(made.zone).isoformat(timespec="minutes"))
    return times


@pytest.mark.parametrize("kind", ["cron", "on_calendar"])
def test_daily_job_in_the_hour_that_is_skipped(kind: str) -> None:
    made = schedule(kind, {"cron": "30 2 * * *", "on_calendar": "02:30"}[kind], "Europe/Berlin")
    # Cron runs it right after the change; systemd leaves it out.
    expected = ["2026-03-29T03:00+02:00"] if kind == "cron" else []
    expected += ["2026-03-30T02:30+02:00", "2026-03-31T02:30+02:00"]
    assert following(made, "2026-03-28T12:00+01:00", len(expected)) == expected


@pytest.mark.parametrize("kind", ["cron", "on_calendar"])
def test_daily_job_in_the_hour_that_comes_twice(kind: str) -> None:
    made = schedule(kind, {"cron": "30 1 * * *", "on_calendar": "01:30"}[kind], "America/New_York")
    assert following(made, "2026-10-31T12:00-04:00", 2) == ["2026-11-01T01:30-04:00", "2026-11-02T01:30-05:00"]
    # Also when asked within the second of the two hours.
    assert following(made, "2026-11-01T01:10-05:00", 1) == ["2026-11-02T01:30-05:00"]


def test_hourly_cron_follows_real_time() -> None:
    made = schedule("cron", "0 * * * *", "Europe/Berlin")
    hours = following(made, "2026-10-25T01:30+02:00", 3)
    assert hours == ["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00", "2026-10-25T03:00+01:00"]


def test_hourly_cron_over_a_change_of_half_an_hour() -> None:
    made = schedule("cron", "0 */4 * * *", "Australia/Lord_Howe")
    assert following(made, "2028-04-02T00:00+11:00", 2) == ["2028-04-02T04:00+10:30", "2028-04-02T08:00+10:30"]
    assert following(made, "2028-10-01T00:00+10:30", 2) == ["2028-10-01T04:00+11:00", "2028-10-01T08:00+11:00"]


def test_leap_day_is_found_years_ahead() -> None:
    for kind, expression in (("cron", "0 12 29 2 *"), ("on_calendar", "*-02-29 12:00")):
        assert following(schedule(kind, expression), "2026-01-01T00:00+00:00", 1) == ["2028-02-29T12:00+00:00"]


def test_several_calendar_lines_are_one_schedule() -> None:
    made = schedule("on_calendar", "Mon..Fri 06:00\n Sat 08:00 \n")
    times = following(made, "2026-01-02T05:00+00:00", 3)
    assert times == ["2026-01-02T06:00+00:00", "2026-01-03T08:00+00:00", "2026-01-05T06:00+00:00"]


def test_period_counts_from_the_anchor() -> None:
    made = schedule("period", period=600)
    assert schedules.next_after(made, T0, T0) == T0 + timedelta(seconds=600)
    assert schedules.next_after(made, T0 + timedelta(seconds=1_799), T0) == T0 + timedelta(seconds=1_800)
    assert schedules.next_after(made, T0 + timedelta(seconds=1_800), T0) == T0 + timedelta(seconds=2_400)


def test_macros_are_cron() -> None:
    assert following(schedule("cron", "@Daily"), "2026-01-01T01:00+00:00", 1) == ["2026-01-02T00:00+00:00"]


@pytest.mark.parametrize(
    ("kind", "expression", "expected"),
    [
        ("cron", "0 9 * * MON-FRI", "2026-01-01T09:00"),
        ("cron", "0 0 1 feb *", "2026-02-01T00:00"),
        ("cron", "0 0 L * *", "2026-01-31T00:00"),
        ("cron", "0 0 LW * *", "2026-01-30T00:00"),
        ("cron", "0 0 * * 5L", "2026-01-30T00:00"),
        ("cron", "0 0 * * MON#2", "2026-01-12T00:00"),
        ("cron", "*/20 * * * *", "2026-01-01T03:20"),
        ("cron", " @hourly ", "2026-01-01T04:00"),
        ("on_calendar", "Mon..Fri 09:00", "2026-01-01T09:00"),
        ("on_calendar", "hourly", "2026-01-01T04:00"),
        ("on_calendar", "quarterly", "2026-04-01T00:00"),
        ("on_calendar", "*-*-1 00:00:00 Europe/Berlin", "2026-01-31T23:00"),
        ("on_calendar", "daily UTC", "2026-01-02T00:00"),
        ("on_calendar", "*-*~1 00:00", "2026-01-31T00:00"),
    ],
)
def test_forms_of_expressions(kind: str, expression: str, expected: str) -> None:
    assert schedules.problem(kind, expression, "UTC", T0) is None
    found = schedules.next_after(schedule(kind, expression), datetime(2026, 1, 1, 3, tzinfo=UTC), T0)
    assert found == datetime.fromisoformat(f"{expected}+00:00")


@pytest.mark.parametrize(
    ("kind", "expression", "expected"),
    [
        ("cron", "*/7 */5 1-15/3 JAN-MAR MON#2", "2028-03-01T00:00"),
        ("cron", "0 0 LW * *", "2028-02-29T00:00"),
        ("cron", "0 9 * * MON#5", "2028-05-29T09:00"),
        ("cron", "59 23 29 2 0", "2028-02-29T23:59"),
        ("on_calendar", "*-*~01 00:00", "2028-02-29T00:00"),
        ("on_calendar", "Mon *-05~07/1", "2028-05-29T00:00"),
        ("on_calendar", "Mon..Fri *-*-* 09..17:00/15", "2028-02-29T09:00"),
        ("on_calendar", "Sat,Thu,Mon-Wed,Sun 01:00", "2028-02-29T01:00"),
        ("on_calendar", "quarterly", "2028-04-01T00:00"),
        ("on_calendar", "yearly\n*-*-15 03:00", "2028-03-15T03:00"),
    ],
)
def test_odd_expressions(kind: str, expression: str, expected: str) -> None:
    start = datetime(2028, 2, 28, 22, tzinfo=UTC)
    found = schedules.next_after(schedule(kind, expression), start, start)
    assert found == datetime.fromisoformat(f"{expected}+00:00")


@pytest.mark.parametrize("expression", ["*/30 * * * * *", "0 0 2 * * *", "@daily *"])
def test_cron_has_no_seconds(expression: str) -> None:
    wrong = schedules.expression_problem("cron", expression, "UTC", T0)
    assert wrong.startswith("must ")
    assert "cron has no seconds" in wrong or expression.startswith("@")
    assert not schedules.is_readable("cron", expression, "UTC")


def test_calendar_expression_names_its_zone() -> None:
    made = schedule("on_calendar", "02:30 Europe/Berlin", "UTC")
    assert (made.zone.key, schedules.spoken(made)) == ("Europe/Berlin", "02:30 Europe/Berlin")
    several = schedule("on_calendar", "02:30 Europe/Berlin\n03:00", "Asia/Tokyo")
    assert (several.zone.key, schedules.spoken(several)) == (
        "Asia/Tokyo",
        "02:30 Europe/Berlin | 03:00 (Asia/Tokyo)",
    )


@pytest.mark.parametrize(
    ("kind", "expression", "zone", "field"),
    [
        ("cron", "", "UTC", "expression"),
        ("cron", "every day", "UTC", "expression"),
        ("cron", "61 * * * *", "UTC", "expression"),
        ("cron", "0 0 30 2 *", "UTC", "expression"),
        ("cron", "0 0 * * * * *", "UTC", "expression"),
        ("cron", "* " * 200, "UTC", "expression"),
        ("on_calendar", "25:00", "UTC", "expression"),
        ("on_calendar", "*-02-30", "UTC", "expression"),
        ("on_calendar", "2020-01-01", "UTC", "expression"),
        ("on_calendar", "00:00\n" * 11, "UTC", "expression"),
        ("on_calendar", "~", "UTC", "expression"),
        ("cron", "0 2 * * *", "Mars/Olympus", "time_zone"),
        ("period", "", "../etc/passwd", "time_zone"),
    ],
)
def test_wrong_schedules_name_the_field(kind: str, expression: str, zone: str, field: str) -> None:
    wrong = schedules.problem(kind, expression, zone, T0)
    assert wrong is not None
    assert wrong[0] == field


@pytest.mark.parametrize("kind", ["none", "period"])
def test_schedule_without_expression_is_right(kind: str) -> None:
    assert schedules.problem(kind, "", "Europe/Berlin", T0) is None
