"""Reads what a heartbeat says about a run of a job, and the schedule that it declares. Pure."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from agents.domain.heartbeat import YEAR, Declared, JobEvent
from agents.domain.jobs import schedules

MAX_RID: Final = 64
MAX_EXIT_STATUS: Final = 2**31 - 1
_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")


def is_right(job: JobEvent) -> bool:
    return (
        _is_text(job.rid, MAX_RID)
        and abs(job.exit_status or 0) <= MAX_EXIT_STATUS
        and 0 <= (job.duration or 0.0) <= YEAR
        and (job.schedule is None or is_schedule_right(job.schedule))
    )


def is_schedule_right(declared: Declared) -> bool:
    """Its limits, and that it can be read. Whether it ever matches is asked when it is used."""
    return (
        _is_text(declared.expression, schedules.MAX_EXPRESSION)
        and _is_text(declared.time_zone, schedules.MAX_ZONE)
        and _is_in(declared.period, schedules.MIN_PERIOD)
        and _is_in(declared.grace, schedules.MIN_GRACE)
        and _is_in(declared.max_duration, schedules.MIN_DURATION)
        and schedules.is_readable(declared.kind, declared.expression or "", declared.time_zone or "UTC")
    )


def _is_text(text: str | None, longest: int) -> bool:
    """Without U+0000 and halves of characters, which no database stores."""
    return text is None or (len(text) <= longest and not _UNSTORABLE.search(text))


def _is_in(seconds: float | None, minimum: float) -> bool:
    return seconds is None or minimum <= seconds <= schedules.MAX_SECONDS


def salvaged(value: Any) -> tuple[JobEvent | None, str]:
    """What can be kept of `job`, and why not all. Without a known `event` it says nothing."""
    fields = dict(value) if isinstance(value, dict) else {}
    kept: dict[str, Any] = {}
    left_out: list[str] = []
    for name in JobEvent.__struct_fields__:
        if fields.get(name) is not None:
            _keep(kept, name, fields[name], left_out)
    if "event" not in kept:
        return None, "needs an event: start, success, fail or log"
    return _event(kept), f"left out: {', '.join(left_out)}" if left_out else ""


def _keep(kept: dict[str, Any], name: str, value: Any, left_out: list[str]) -> None:
    """Add a field if the event is right with it."""
    tried = {"event": "log", **kept, name: value}
    try:
        if is_right(_event(tried)):
            kept[name] = value
            return
    except msgspec.ValidationError:
        pass
    left_out.append(name)


def _event(fields: dict[str, Any]) -> JobEvent:
    return msgspec.convert(fields, JobEvent)
