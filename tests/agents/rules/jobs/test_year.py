"""A simulated year of schedules against an enumeration that shares no code with them: 0 wrong alarms, 0 missed.

2028 is a leap year. The zones change their clocks on different days, one of them by half an hour.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, cast
from zoneinfo import ZoneInfo

import pytest

from agents import rules
from agents.domain import jobs
from agents.domain.jobs import Event, Job, Run
from agents.domain.jobs.schedules import Schedule
from agents.rules.facts import Facts
from agents.rules.jobs import did_not_start, job_failed, ran_too_often, took_too_long

YEAR: Final = 2028
ZONES: Final = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe")
GRACE, LONGEST = timedelta(minutes=5), timedelta(minutes=10)
RULES: Final = (did_not_start, took_too_long, job_failed, ran_too_often)
DAY: Final = timedelta(days=1)
# The schedule, and the same in words that the enumeration understands: days, and times of day.
EVERY_DAY, WORKDAYS, LEAP_DAYS, FIRST = "every day", "workdays", "29 February", "first of the month"
SCHEDULES: Final = (
    ("cron", "30 2 * * *", EVERY_DAY, ["02:30"]),
    ("cron", "15 1,2,3 * * *", EVERY_DAY, ["01:15", "02:15", "03:15"]),
    ("cron", "0 9 * * 1-5", WORKDAYS, ["09:00"]),
    ("cron", "0 12 29 2 *", LEAP_DAYS, ["12:00"]),
    ("on_calendar", "02:30", EVERY_DAY, ["02:30"]),
    ("on_calendar", "Mon..Fri 01:45", WORKDAYS, ["01:45"]),
    ("on_calendar", "*-*-01 00:00", FIRST, ["00:00"]),
    ("on_calendar", "*-02-29 12:00", LEAP_DAYS, ["12:00"]),
)
FATES: Final = ("on time", "on time", "on time", "on time", "late", "early", "missed", "failed", "hung", "twice")


def days(which: str) -> Iterator[date]:
    day = date(YEAR, 1, 1)
    while day.year == YEAR:
        wanted = {
            EVERY_DAY: True,
            WORKDAYS: day.weekday() < 5,
            LEAP_DAYS: (day.month, day.day) == (2, 29),
            FIRST: day.day == 1,
        }
        if wanted[which]:
            yield day
        day += timedelta(days=1)


def enumerated(kind: str, which: str, times: list[str], zone: ZoneInfo) -> list[datetime]:
    """The expected times: cron moves what falls into a gap to its end, systemd leaves it out."""
    found = set()
    for day in days(which):
        for at in times:
            local = datetime.combine(day, time.fromisoformat(at), zone)
            exists = local.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == local.replace(tzinfo=None)
            if exists:
                found.add(local.astimezone(UTC))
            elif kind == "cron":
                found.add(end_of_gap(local, zone))
    return sorted(found)


def end_of_gap(local: datetime, zone: ZoneInfo) -> datetime:
    moment = local.replace(hour=0, minute=0).astimezone(UTC)
    before = moment.astimezone(zone).utcoffset()
    while moment.astimezone(zone).utcoffset() == before:
        moment += timedelta(minutes=1)
    return moment


def every_minute_of(hours: set[int], minutes: set[int], zone: ZoneInfo) -> list[datetime]:
    """What a cron expression with `*` in its hours expects: whenever the clock on the wall shows it."""
    moment, found = datetime(YEAR, 1, 1, tzinfo=zone).astimezone(UTC), []
    while moment.astimezone(zone).year == YEAR:
        wall = moment.astimezone(zone)
        if wall.minute in minutes and wall.hour in hours:
            found.append(moment)
        moment += timedelta(minutes=15)
    return found


@dataclass
class Year:
    """One job through the year: what happens, what should be found, and what is."""

    schedule: Schedule
    events: list[Event] = field(default_factory=list)
    expected: list[tuple[str, datetime]] = field(default_factory=list)
    found: list[tuple[str, datetime]] = field(default_factory=list)

    def live(self, until: datetime) -> None:
        """Look whenever a ping arrives, and at every moment that the job names."""
        runs: list[Run] = []
        open_kinds: set[str] = set()
        now, waiting = self.schedule.since, sorted(self.events, key=lambda event: event.at)
        while now < until:
            while waiting and waiting[0].at <= now:
                runs = jobs.add(runs, waiting.pop(0))
            job = Job(schedule=self.schedule, runs=jobs.decode(jobs.encode(runs)))
            open_kinds = self._look(job, open_kinds, now)
            upcoming = [at for at in jobs.turning_points(job) if at > now]
            upcoming += [waiting[0].at] if waiting else []
            now = min(upcoming, default=until)

    def _look(self, job: Job, open_kinds: set[str], now: datetime) -> set[str]:
        findings = [finding for rule in RULES if (finding := rule.check(facts(rule, job, now)))]
        self.found += [(each.kind, each.started_at) for each in findings if each.kind not in open_kinds]
        return {finding.kind for finding in findings}


def facts(rule: Any, job: Job, now: datetime) -> Facts:
    thresholds = rules.in_force(rule).thresholds
    return Facts(now=now, row=cast("Any", None), interval=60.0, today=now.date(), thresholds=thresholds, job=job)


def live_through(schedule: Schedule, times: list[datetime], seed: int) -> Year:
    """Give each expected time a fate, and say what must be found."""
    rng, year = random.Random(seed), Year(schedule)
    missing = failing = False
    for number, at in enumerate(times):
        fate = rng.choice(FATES)
        following = times[number + 1] if number + 1 < len(times) else None
        if fate == "twice" and (following is None or set_back(schedule, at, following)):
            fate = "on time"  # the last has no end, and schedulers differ when an hour comes twice
        began = at + timedelta(seconds={"late": 290, "early": -10}.get(fate, rng.randrange(0, 60)))
        if fate == "missed":
            year.expected += [] if missing else [("did_not_start", at)]
            missing = True
            continue
        missing = False
        ended = began + timedelta(seconds=rng.randrange(1, 200))
        year.events.append(Event(event="start", at=began))
        if fate == "hung":
            year.expected.append(("took_too_long", began + LONGEST))
            continue
        year.events.append(Event(event="fail" if fate == "failed" else "success", at=ended))
        if fate == "failed" and not failing:
            year.expected.append(("job_failed", ended))
        failing = fate == "failed"
        if fate == "twice":
            again = ended + timedelta(seconds=60)
            year.events.append(Event(event="success", at=again))
            year.expected.append(("ran_too_often", again))
    return year


def set_back(schedule: Schedule, start: datetime, end: datetime) -> bool:
    zone = ZoneInfo(schedule.time_zone)
    before, after = (moment.astimezone(zone).utcoffset() or timedelta(0) for moment in (start, end))
    return after < before


def schedule_of(kind: str, expression: str, zone: str, **more: Any) -> Schedule:
    return Schedule(
        kind=cast("Any", kind),
        since=datetime(YEAR, 1, 1, tzinfo=ZoneInfo(zone)).astimezone(UTC) - timedelta(seconds=1),
        expression=expression,
        time_zone=zone,
        grace=GRACE.total_seconds(),
        **{"max_duration": LONGEST.total_seconds(), **more},
    )


@pytest.mark.slow
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(("kind", "expression", "which", "times"), SCHEDULES)
def test_a_year_has_no_wrong_alarm_and_misses_none(
    kind: str, expression: str, which: str, times: list[str], zone: str
) -> None:
    expected = enumerated(kind, which, times, ZoneInfo(zone))
    year = live_through(schedule_of(kind, expression, zone), expected, seed=len(expression) + len(zone))
    year.live(datetime(YEAR, 12, 31, 22, tzinfo=ZoneInfo(zone)).astimezone(UTC))
    assert len(expected) == (1 if which == LEAP_DAYS else len(expected))
    assert sorted(year.found) == sorted(year.expected)
    if len(expected) > 100:
        assert {kind for kind, _ in year.found} == {rule.KIND for rule in RULES}


@pytest.mark.slow
@pytest.mark.parametrize("zone", ZONES)
def test_a_year_of_a_job_that_follows_real_time(zone: str) -> None:
    expected = every_minute_of({0, 2, 4}, {0, 30}, ZoneInfo(zone))
    year = live_through(schedule_of("cron", "*/30 0-4/2 * * *", zone), expected, seed=7)
    year.live(datetime(YEAR, 12, 31, 22, tzinfo=ZoneInfo(zone)).astimezone(UTC))
    assert sorted(year.found) == sorted(year.expected)


@pytest.mark.slow
@pytest.mark.parametrize("zone", ZONES)
def test_a_year_of_overlapping_and_skipped_runs(zone: str) -> None:
    """Runs of 10 to 700 minutes every 4 hours: with a lock the next ones are skipped, without one they overlap."""
    hours = every_minute_of(set(range(0, 24, 4)), {0}, ZoneInfo(zone))
    rng, schedule = random.Random(3), schedule_of("cron", "0 */4 * * *", zone, max_duration=50_000.0)
    locked, overlapping = Year(schedule), Year(schedule)
    busy_until = schedule.since
    for number, at in enumerate(hours):
        ended = at + timedelta(minutes=rng.randrange(10, 700), seconds=30)
        rid = str(number)
        overlapping.events += [Event(event="start", at=at, rid=rid), Event(event="success", at=ended, rid=rid)]
        if at >= busy_until:
            locked.events += [Event(event="start", at=at), Event(event="success", at=ended)]
            busy_until = ended
    for year in (locked, overlapping):
        year.live(hours[-1])
        assert year.found == []
