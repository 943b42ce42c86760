"""When a job is expected: a period, a cron expression or a systemd calendar expression. Pure: no Django, no clock.

Cron is that of Debian, by `cronsim`: across a change to or from daylight saving time, a job at a fixed time runs once,
right after a skipped hour; a job with `*` hours or minutes follows the clock's real time. Durations are seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from oncalendar import OnCalendar, OnCalendarError

NONE: Final = "none"
PERIOD: Final = "period"
CRON: Final = "cron"
ON_CALENDAR: Final = "on_calendar"
Kind = Literal["none", "period", "cron", "on_calendar"]
KINDS: Final[tuple[Kind, ...]] = (NONE, PERIOD, CRON, ON_CALENDAR)
# What Healthchecks gives to a check that it creates for a ping.
DEFAULT_PERIOD: Final = 86_400.0
DEFAULT_GRACE: Final = 3_600.0
MIN_PERIOD: Final = 1.0
MIN_GRACE: Final = 5.0
MIN_DURATION: Final = 1.0
MAX_SECONDS: Final = 366 * 86_400.0
MAX_EXPRESSION: Final = 200
MAX_ZONE: Final = 50
# Lines of an OnCalendar expression; a timer unit may have several.
MAX_LINES: Final = 10
CRON_FIELDS: Final = 5
HOUR: Final = 3_600
_UNREADABLE: Final = (CronSimError, OnCalendarError, ZoneInfoNotFoundError, ValueError, IndexError, KeyError, OSError)
MACROS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When a job is expected, and how long it may take.

    kind: `none` expects no run, and only limits how long one may take.
    grace: how late it may start, and, without `max_duration`, how long it may run.
    since: nothing is expected before; is_default: nobody chose this schedule.
    """

    kind: Kind
    since: datetime
    period: float = DEFAULT_PERIOD
    expression: str = ""
    time_zone: str = "UTC"
    grace: float = DEFAULT_GRACE
    max_duration: float | None = None
    is_default: bool = False

    @property
    def longest(self) -> float | None:
        """Seconds that a run may take; None: any time."""
        return self.max_duration or (None if self.kind == NONE else self.grace)

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(zone_named(self.expression) or self.time_zone if self.kind == ON_CALENDAR else self.time_zone)


def problem(kind: str, expression: str, time_zone: str, at: datetime) -> tuple[str, str] | None:
    """The wrong field and why, or None. An expression that never matches after `at` is wrong, too."""
    if not is_zone(time_zone):
        return "time_zone", "must be the name of a time zone, such as Europe/Berlin"
    if kind in (NONE, PERIOD):
        return None
    wrong = expression_problem(kind, expression, time_zone, at)
    return ("expression", wrong) if wrong else None


def is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


@lru_cache(maxsize=1024)
def zone_named(expression: str) -> str:
    """The time zone at the end of an OnCalendar expression, if all its lines name the same one; else empty."""
    named = {line.rpartition(" ")[2] for line in _lines(expression).splitlines()}
    name = named.pop() if len(named) == 1 else ""
    return name if name[:1].isalpha() and is_zone(name) else ""


def is_readable(kind: str, expression: str, time_zone: str) -> bool:
    """Whether this is a schedule at all; it may still never match."""
    try:
        zone = ZoneInfo(time_zone)
        if kind not in (NONE, PERIOD):
            _occurrences(kind, expression, datetime(2000, 1, 1, tzinfo=zone))
    except _UNREADABLE:
        return False
    return True


# Each review asks again for the schedule that a client declared, and to find that nothing matches takes long.
@lru_cache(maxsize=1024)
def expression_problem(kind: str, expression: str, time_zone: str, at: datetime) -> str:
    example = "0 2 * * *" if kind == CRON else "Mon..Fri 02:00"
    if not expression.strip():
        return f"is required, such as {example}"
    if kind == CRON and len(expression.split()) == CRON_FIELDS + 1:
        return f"must have five fields, such as {example}: cron has no seconds"
    if len(expression) > MAX_EXPRESSION or len(expression.splitlines()) > MAX_LINES:
        return f"must have at most {MAX_EXPRESSION} characters in {MAX_LINES} lines"
    try:
        following = next(_occurrences(kind, expression, at.astimezone(ZoneInfo(time_zone))), None)
    except _UNREADABLE:
        name = "a cron expression with five fields" if kind == CRON else "an OnCalendar expression"
        return f"must be {name}, such as {example}"
    return "" if following else "never matches"


def next_after(schedule: Schedule, moment: datetime, anchor: datetime) -> datetime | None:
    """The first time after `moment` at which the job is expected, in UTC; None: never again.

    A period counts from `anchor`, the last time that the job showed up.
    """
    if schedule.kind == NONE:
        return None
    if schedule.kind == PERIOD:
        missed = max(0, int((moment - anchor).total_seconds() // schedule.period))
        return anchor + timedelta(seconds=schedule.period * (missed + 1))
    return _following(schedule.kind, schedule.expression, schedule.time_zone, moment)


# A review asks for the same few times again and again.
@lru_cache(maxsize=4096)
def _following(kind: str, expression: str, time_zone: str, moment: datetime) -> datetime | None:
    zone = ZoneInfo(time_zone)
    found = _first_after(kind, expression, zone, moment, moment)
    if found is not None and _is_odd_change(zone, moment, found):
        # Stepping by hours over a change of half an hour, the library misses times: ask again from there on.
        change = _change_between(zone, moment, found)
        full_hour = change + timedelta(seconds=HOUR - change.astimezone(zone).minute * 60)
        starts = (start - timedelta(seconds=1) for start in (change, full_hour))
        again = [_first_after(kind, expression, zone, start, moment) for start in starts]
        return min([found, *(at for at in again if at)])
    return found


def _first_after(kind: str, expression: str, zone: ZoneInfo, start: datetime, moment: datetime) -> datetime | None:
    # The library answers with the first of two equal times, also when asked in the second of them.
    return next((at for at in _occurrences(kind, expression, start.astimezone(zone)) if at > moment), None)


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta(0)


def _is_odd_change(zone: ZoneInfo, start: datetime, end: datetime) -> bool:
    """Whether the clock changes in between by something else than whole hours, as on Lord Howe Island."""
    return (_offset(zone, end) - _offset(zone, start)) % timedelta(hours=1) != timedelta(0)


def _change_between(zone: ZoneInfo, start: datetime, end: datetime) -> datetime:
    """The second at which the clock changes."""
    start, end = start.astimezone(UTC).replace(microsecond=0), end.astimezone(UTC)
    while end - start > timedelta(seconds=1):
        middle = start + timedelta(seconds=(end - start) // timedelta(seconds=2))
        start, end = (middle, end) if _offset(zone, middle) == _offset(zone, start) else (start, middle)
    return end


def _occurrences(kind: str, expression: str, start: datetime) -> Iterator[datetime]:
    if kind == CRON:
        expression = MACROS.get(expression.strip().lower(), expression)
        if len(expression.split()) != CRON_FIELDS:  # the library would read a sixth as seconds
            raise CronSimError("Wrong number of fields")
        found: Iterator[datetime] = CronSim(expression, start)
    else:
        # It returns whole seconds only when it starts from one.
        found = OnCalendar(_lines(expression), start.replace(microsecond=0))
    return (at.astimezone(UTC) for at in found)


def _lines(expression: str) -> str:
    return "\n".join(line.strip() for line in expression.splitlines() if line.strip())


def spoken(schedule: Schedule) -> str:
    """As people read it: `0 2 * * * (Europe/Berlin)`."""
    if schedule.kind == NONE:
        return ""
    if schedule.kind == PERIOD:
        return f"every {timedelta(seconds=schedule.period)}"
    text = " | ".join(_lines(schedule.expression).splitlines())
    is_named = schedule.kind == ON_CALENDAR and zone_named(schedule.expression)
    return text if is_named else f"{text} ({schedule.time_zone})"
