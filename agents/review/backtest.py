"""Backtests: when a rule would have fired on an agent's stored heartbeats, with these thresholds. Writes nothing."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from django.db.models import Q, QuerySet

from agents import rules
from agents.domain import clocks
from agents.models import Agent, Heartbeat, Outage, Signal
from agents.review.replay import Episode, Replay
from agents.rules import restart_failed, settings
from agents.storage import outage_log
from billing import limits
from teams.errors import ApiError
from teams.models import Project

# A heartbeat takes a quarter of a millisecond, with tool calls two or three: a few seconds in all.
MAX_BEATS: Final = 5_000
# Agents of a project, those that reported last; they share `MAX_BEATS`.
MAX_AGENTS: Final = 20
# Heartbeats this long before the time in question are read to learn what is usual.
LEARNED_FROM: Final = timedelta(days=14)
# With fewer heartbeats the result is not reliable.
MIN_BEATS: Final = 10
CHUNK: Final = 500
# Heartbeats come in through the same processes, so only this many backtests run at once in each.
MAX_RUNNING: Final = 2

_running = threading.BoundedSemaphore(MAX_RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The result for one agent. `heartbeats` were read since `covered_from`, `before` more to learn from.

    `why` says why the backtest does not go back as far as requested, `note` why it is not reliable; either may be
    empty. `thresholds` are those that were in force, `real` the agent's actual signals of that time, by any rule.
    """

    agent: Agent
    rule: rules.Rule
    thresholds: Mapping[str, Any]
    since: datetime
    until: datetime
    covered_from: datetime
    heartbeats: int
    before: int
    why: str
    note: str
    episodes: Sequence[Episode]
    real: Sequence[Signal]

    @property
    def stops(self) -> int:
        """How often a hold would have stopped the agent."""
        return sum(episode.stopped_at is not None and episode.stopped_at >= self.since for episode in self.episodes)

    @property
    def nudges(self) -> int:
        """How often a nudge would have told the agent about its loop."""
        return sum(episode.told is not None and episode.told.at >= self.since for episode in self.episodes)


def parse(kind: object, thresholds: object) -> tuple[rules.Rule, dict[str, Any]]:
    """The rule of that name and its thresholds, checked. Raises ApiError 422."""
    rule = rules.every().get(kind) if isinstance(kind, str) else None
    if rule is None:
        raise _invalid({"rule": f"must be one of {', '.join(rules.every())}"})
    if not can_backtest(rule):
        raise _invalid({"rule": "restart_failed cannot be backtested, because restarts are not replayed"})
    if not isinstance(thresholds, Mapping):
        raise _invalid({"thresholds": "must be an object of numbers by name"})
    errors = settings.wrong_values(rule.THRESHOLDS, thresholds)
    if errors:
        raise _invalid({f"thresholds.{name}": error for name, error in errors.items()})
    return rule, dict(thresholds)


def can_backtest(rule: rules.Rule) -> bool:
    """Whether the rule needs nothing but heartbeats."""
    return rule is not restart_failed


def _invalid(fields: dict[str, str]) -> ApiError:
    return ApiError(422, "invalid", "; ".join(f"{name}: {error}" for name, error in fields.items()), fields=fields)


@contextmanager
def _limited() -> Iterator[None]:
    """Refuse instead of waiting: a waiting request would keep a thread from taking heartbeats."""
    if not _running.acquire(blocking=False):
        raise ApiError(503, "busy", "Other backtests are running. Try again in a few seconds.", retry_after=5)
    try:
        yield
    finally:
        _running.release()


@_limited()
def of_project(
    project: Project, rule: rules.Rule, thresholds: Mapping[str, Any], since: datetime, until: datetime
) -> tuple[list[Trial], int]:
    """Backtest the agents of a project that reported last. Returns their trials and how many agents were left out.

    `project` may be an unsaved copy with other `rules`.
    """
    reported = project.agents.filter(state__last_beat_at__isnull=False).order_by("-state__last_beat_at", "pk")
    agents = list(reported.select_related("state")[:MAX_AGENTS])
    most = MAX_BEATS // max(1, len(agents))
    for agent in agents:
        agent.project = project
    trials = [_trial(_armed(agent, rule, thresholds), rule, since, until, most) for agent in agents]
    return trials, reported.count() - len(agents)


@_limited()
def of_agent(
    agent: Agent,
    rule: rules.Rule,
    thresholds: Mapping[str, Any],
    since: datetime,
    until: datetime,
    *,
    most: int = MAX_BEATS,
    alone: bool = False,
) -> Trial:
    """Backtest one agent, whether the rule is switched on for it or not. At most `most` heartbeats are read.

    The thresholds override the agent's own; with `alone` they replace them.
    """
    return _trial(_armed(agent, rule, thresholds, alone=alone), rule, since, until, most)


def _armed(agent: Agent, rule: rules.Rule, thresholds: Mapping[str, Any], *, alone: bool = False) -> Agent:
    """A copy of the agent, never saved, with the rule switched on and these thresholds."""
    armed = copy.copy(agent)
    own = {} if alone else agent.rules.get(rule.KIND, {})
    merged = {name: value for name, value in {**own, **thresholds}.items() if name not in (settings.ON, settings.OFF)}
    for name in _column_names(rule):
        if alone or name in thresholds:
            setattr(armed, name, as_column(name, merged.pop(name, None)))
    armed.rules = {rule.KIND: {**merged, settings.ON: True}}
    armed.paused_at = armed.resumed_at = None
    return armed


def _column_names(rule: rules.Rule) -> list[str]:
    """Thresholds of the rule that are columns of the agent."""
    return [threshold.name for threshold in rule.THRESHOLDS if threshold.column]


def as_column(name: str, value: float | None) -> Any:
    """A threshold as the agent's column of that name holds it; money exactly."""
    return Decimal(str(value)) if value is not None and name.endswith("_usd") else value


def _trial(armed: Agent, rule: rules.Rule, since: datetime, until: datetime, most: int) -> Trial:
    earliest = until - limits.kept(armed.project.team_id)
    rows, is_cut = _newest(_stored(armed, earliest, until), most)
    replay = Replay(armed, rule, _outages(since, until))
    learned_from = max(since - LEARNED_FROM, earliest)
    replay.run(rows.filter(received_at__gte=learned_from).order_by("id").iterator(CHUNK), since, until)
    covered_from, why = _coverage(replay.first_at, since, earliest, most if is_cut else None)
    return Trial(
        agent=armed,
        rule=rule,
        thresholds=_thresholds_in_force(armed, rule),
        since=since,
        until=until,
        covered_from=covered_from,
        heartbeats=replay.heartbeats,
        before=replay.heartbeats_before,
        why=why,
        note=_note(replay.heartbeats),
        episodes=[episode for episode in replay.episodes if episode.over_at is None or episode.over_at > since],
        real=_actual_signals(armed, covered_from, until),
    )


def _stored(agent: Agent, earliest: datetime, until: datetime) -> QuerySet[Heartbeat]:
    beats = Heartbeat.objects.filter(agent=agent, day__gte=earliest.date(), received_at__lte=until)
    return beats.filter(received_at__gte=earliest).defer("answer")


def _newest(beats: QuerySet[Heartbeat], most: int) -> tuple[QuerySet[Heartbeat], bool]:
    """The newest heartbeats, at most so many, and whether there are older ones."""
    first_id = beats.order_by("-id").values_list("id", flat=True)[most - 1 : most].first()
    if first_id is None:
        return beats, False
    return beats.filter(id__gte=first_id), beats.filter(id__lt=first_id).exists()


def _coverage(first_at: datetime | None, since: datetime, earliest: datetime, most: int | None) -> tuple[datetime, str]:
    """Since when there are heartbeats, and why not since the requested time. `most` is the limit that was reached."""
    if first_at is None or first_at <= since:
        return since, ""
    if most is not None:
        return first_at, f"only the newest {most:,} heartbeats are read"
    if since < earliest:
        return first_at, "the plan keeps no older heartbeats"
    return first_at, "no older heartbeat is stored"


def _note(heartbeats: int) -> str:
    if not heartbeats:
        return "No heartbeats are stored for this time, so there is nothing to test the rule on."
    count = "one heartbeat" if heartbeats == 1 else f"{heartbeats} heartbeats"
    return f"Only {count} in this time: too few for a reliable result." if heartbeats < MIN_BEATS else ""


def _actual_signals(agent: Agent, since: datetime, until: datetime) -> list[Signal]:
    lasted = Q(cleared_at__isnull=True) | Q(cleared_at__gte=since)
    return list(Signal.objects.filter(lasted, agent=agent, opened_at__lte=until).select_related("incident"))


def _outages(since: datetime, until: datetime) -> list[clocks.Span]:
    begin = since - LEARNED_FROM - outage_log.REMEMBERED
    known = Outage.objects.filter(ended_at__gt=begin, ended_at__lte=until).values_list("started_at", "ended_at")
    return outage_log.merged(clocks.Span(start, end) for start, end in known)


def _thresholds_in_force(armed: Agent, rule: rules.Rule) -> dict[str, Any]:
    """Defaults, the project's and the agent's, those that are columns included."""
    columns = {name: getattr(armed, name) for name in _column_names(rule)}
    numbers = {name: float(value) for name, value in columns.items() if value is not None}
    return {**numbers, **rules.in_force(rule, armed.project.rules, armed.rules).thresholds}
