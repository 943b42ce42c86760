"""A project's notification policy: ordered rules that say who is notified of an incident, when, and who next.

Pure: no Django, no clock. Minutes are whole numbers; local times are those of the project.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, time, timedelta
from itertools import accumulate
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec

from alerts.routing import Address
from teams.labels import format_phrase

MAX_RULES: Final = 50
MAX_STEPS: Final = 10
MAX_REPEATS: Final = 50
DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_NAMES: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=254)]
Names = Annotated[tuple[Name, ...], msgspec.Meta(max_length=100)]
Minutes = Annotated[int, msgspec.Meta(ge=1, le=7 * 24 * 60)]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Clock = Annotated[str, msgspec.Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class Hours(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"start": "from", "end": "to"}):
    """A time of day. An end before the start is on the next day."""

    start: Clock
    end: Clock


class Match(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a rule applies to. Whatever is left out matches everything."""

    severity: Literal["", "warning", "critical"] = ""
    kinds: Names = ()
    labels: dict[str, str] = {}
    agents: Names = ()
    days: Annotated[tuple[Day, ...], msgspec.Meta(max_length=7)] = ()
    hours: Hours | None = None


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Whom to notify; `on_call` names rotations. `after`: minutes since the step before, `repeat`: every so many
    minutes, `times` in all."""

    channels: Names = ()
    people: Names = ()
    on_call: Names = ()
    after: Annotated[int, msgspec.Meta(ge=0, le=7 * 24 * 60)] = 0
    repeat: Minutes | None = None
    times: Annotated[int, msgspec.Meta(ge=1, le=MAX_REPEATS)] = 3

    @property
    def targets(self) -> tuple[str, ...]:
        """In English."""
        return (*self.channels, *self.people, *(f"whoever is on call in {name}" for name in self.on_call))

    @property
    def addresses(self) -> frozenset[Address]:
        channels = {("channel", name.lower()) for name in self.channels}
        return frozenset(channels | {("person", address.lower()) for address in self.people})


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    steps: Annotated[tuple[Step, ...], msgspec.Meta(min_length=1, max_length=MAX_STEPS)]
    match: Match = Match()


class Problem(NamedTuple):
    """An incident as rules see it: the names and labels of each affected agent, and the project's local time."""

    severity: str
    kind: str
    agents: Mapping[str, Mapping[str, str]]
    at: datetime


class Notice(NamedTuple):
    """One notification of a plan: `round` counts the repeats of a step, from 0."""

    at: datetime
    step: int
    round: int


class PolicyError(ValueError):
    """The text says what is wrong, and where."""


def parse(data: Any) -> tuple[Rule, ...]:
    """Rules from JSON. Raises `PolicyError`."""
    try:
        rules = msgspec.convert(data, tuple[Rule, ...])
    except msgspec.ValidationError as error:
        raise PolicyError(str(error)) from None
    if len(rules) > MAX_RULES:
        raise PolicyError(f"A policy has at most {MAX_RULES} rules.")
    if "\0" in msgspec.json.encode(rules).decode().replace("\\u0000", "\0"):
        raise PolicyError("Texts must not contain a NUL character.")
    for rule in rules:
        _check(rule, rules)
    return rules


def as_json(rules: Any) -> Any:
    """Rules as they are stored, and as they come back: lists, not tuples."""
    return msgspec.json.decode(msgspec.json.encode(rules))


def stored(data: Any) -> tuple[Rule, ...]:
    """Rules from the database. What this version can't read is no policy: then alert routing decides, and no alert is
    lost."""
    try:
        return parse(data)
    except PolicyError:
        return ()


def _check(rule: Rule, rules: Sequence[Rule]) -> None:
    if sum(other.name == rule.name for other in rules) > 1:
        raise PolicyError(f"Two rules are named “{rule.name}”.")
    for number, step in enumerate(rule.steps, 1):
        if not step.targets:
            raise PolicyError(f"Step {number} of “{rule.name}” notifies nobody: add channels or people.")
        if number > 1 and not step.after:
            raise PolicyError(f"Step {number} of “{rule.name}” needs `after`: the minutes since the step before.")
    if rule.steps[0].after:
        raise PolicyError(f"The first step of “{rule.name}” is immediate: leave out `after`.")


def matching(rules: Sequence[Rule], problem: Problem) -> Rule | None:
    """The first rule that applies."""
    return next((rule for rule in rules if _applies(rule.match, problem)), None)


def _applies(match: Match, problem: Problem) -> bool:
    return (
        match.severity in ("", problem.severity)
        and (not match.kinds or problem.kind in match.kinds)
        # For agents that fell silent together, one that matches is enough.
        and any(_names(match, name, labels) for name, labels in problem.agents.items())
        and _is_time(match, problem.at)
    )


def _names(match: Match, name: str, labels: Mapping[str, str]) -> bool:
    return (not match.agents or name in match.agents) and match.labels.items() <= labels.items()


def _is_time(match: Match, at: datetime) -> bool:
    """Hours that go past midnight belong to the day on which they began."""
    day, clock = at.weekday(), at.time()
    if match.hours:
        start, end = time.fromisoformat(match.hours.start), time.fromisoformat(match.hours.end)
        if start < end and not start <= clock < end:
            return False
        if start >= end and end <= clock < start:
            return False
        if start >= end and clock < end:
            day = (day - 1) % 7
    return not match.days or DAYS[day] in match.days


def plan(rule: Rule, begins: datetime) -> list[Notice]:
    """Every notification of a rule while nobody acknowledges the incident, in order."""
    waits = accumulate(step.after for step in rule.steps)
    return sorted(
        Notice(begins + timedelta(minutes=wait + again * (step.repeat or 0)), number, again)
        for number, (wait, step) in enumerate(zip(waits, rule.steps, strict=True))
        for again in range(step.times if step.repeat else 1)
    )


def due(notices: Sequence[Notice], position: int, now: datetime) -> tuple[list[Notice], int]:
    """What to send now, and the position after it. Of each step only the latest: who missed two repeats needs one."""
    passed = [notice for notice in notices[position:] if notice.at <= now]
    latest = {notice.step: notice for notice in passed}
    return sorted(latest.values()), position + len(passed)


def targets(rules: Sequence[Rule], of: Callable[[Step], Names]) -> set[str]:
    """All channels, people or rotations that rules name."""
    return {name for rule in rules for step in rule.steps for name in of(step)}


# In English


def sentences(rule: Rule) -> list[str]:
    """`For critical alerts of agents with env=production: notify Ops now.`, and one more for each further step."""
    first, *others = rule.steps
    lines = [f"{_subject(rule.match)}: notify {_listed(first.targets)} at once{_repeats(first)}."]
    for step in others:
        wait = f"{_minutes(step.after)} later" if step is not others[0] else f"after {_minutes(step.after)}"
        lines.append(f"If nobody has acknowledged it {wait}, notify {_listed(step.targets)}{_repeats(step)}.")
    return lines


def _subject(match: Match) -> str:
    alerts = {"": "all alerts", "warning": "warnings", "critical": "critical alerts"}[match.severity]
    kinds = f" of kind {_listed(match.kinds, 'or')}" if match.kinds else ""
    labels = f" of agents with {format_phrase(match.labels)}" if match.labels else ""
    agents = f" of {_listed(match.agents, 'or')}" if match.agents else ""
    return f"For {alerts}{kinds}{agents}{labels}{_times(match)}"


def _times(match: Match) -> str:
    days = [name for key, name in zip(DAYS, _DAY_NAMES, strict=True) if key in match.days]
    text = f" on {_listed(days)}" if days else ""
    return text + (f" between {match.hours.start} and {match.hours.end}" if match.hours else "")


def _repeats(step: Step) -> str:
    return f", every {_minutes(step.repeat)}, {step.times} times in all" if step.repeat and step.times > 1 else ""


def _minutes(count: int) -> str:
    hours, minutes = divmod(count, 60)
    parts = [f"{hours} h" if hours else "", f"{minutes} min" if minutes else ""]
    return " ".join(filter(None, parts))


def _listed(names: Collection[str], word: str = "and") -> str:
    *others, last = names
    return f"{', '.join(others)} {word} {last}" if others else last


def describe(rule: Rule, notice: Notice) -> str:
    """Why a notification of a plan is sent: `Step 2 of “Nights”, second reminder`."""
    again = f", reminder {notice.round}" if notice.round else ""
    return f"Step {notice.step + 1} of “{rule.name}”{again}"
