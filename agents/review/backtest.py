"""Trying a rule on stored heartbeats: when it would have fired, had it been armed like this.

Nothing is written, and nothing is judged in another way: `fold.py` folds stored heartbeats into a hot row of their own,
and `review.py` is asked whenever it would have looked, with a clock that is set by the heartbeats. What the store does
not hold is taken as it is today: what the client declared, and what people set otherwise. Pauses are not replayed.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, cast
from zoneinfo import ZoneInfo

from django.db.models import Q, QuerySet

from agents import rules
from agents.domain import clocks, hot_row
from agents.domain.money import MICRO
from agents.incidents import lifecycle
from agents.ingest import fold
from agents.models import Agent, AgentMemory, AgentState, Heartbeat, Outage, Signal
from agents.review import outcome, review
from agents.review.case import case_of
from agents.rules import restart_failed, settings
from agents.rules.facts import CRITICAL, Finding
from agents.storage import decoding, outage_log
from billing import limits
from teams.errors import ApiError
from teams.models import Project

# A heartbeat costs a quarter of a millisecond, one with tool calls two or three: so many are a few seconds at most.
MAX_BEATS: Final = 5_000
# Of a whole project the agents that reported last, which share them.
MAX_AGENTS: Final = 20
# What came before the time asked for teaches what is usual.
LEARNED_FROM: Final = timedelta(days=14)
# Fewer say little, whatever is found in them.
MIN_BEATS: Final = 10
CHUNK: Final = 500
# Replays at once in a process.
TURNS: Final = 2
# The last look at what only grows older is so long before the beat that ends it.
JUST_BEFORE: Final = timedelta(seconds=1)
# What a row has of its client that no stored heartbeat says again.
DECLARED: Final = ("declared_interval", "declared_progress_timeout", "cost_limit", "restart_type", "restart_target")

_turns = threading.BoundedSemaphore(TURNS)


@dataclass(slots=True)
class Episode:
    """What would have been a signal: it stands from `fired_at` on, and is over at `over_at` (None: it lasts)."""

    finding: Finding
    fired_at: datetime
    over_at: datetime | None = None

    def again(self, finding: Finding) -> None:
        """Said anew, with the beginning it had; it only eases where a person can ease it."""
        before = self.finding
        eases = finding.kind in lifecycle.EASED_BY_A_PERSON or finding.severity == CRITICAL
        severity = finding.severity if eases else before.severity
        self.finding = replace(finding, started_at=before.started_at, severity=severity)


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of it. `heartbeats` were read from `covered_from` on, `before` more of them to learn from.

    `why` says why it does not go back as far as was asked for, `note` that this is too little to rely on; both may be
    empty. `thresholds` are those in force in it; `real` is what was found in that time, by any rule.
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


def wanted(kind: Any, given: Any) -> tuple[rules.Rule, dict[str, Any]]:
    """The rule of that name and thresholds for it, checked. Raises 422."""
    rule = rules.every().get(kind) if isinstance(kind, str) else None
    if rule is None:
        raise _invalid({"rule": f"must be one of {', '.join(rules.every())}"})
    if not is_tried(rule):
        raise _invalid({"rule": "restart_failed looks at restarts, which are not replayed"})
    if not isinstance(given, Mapping):
        raise _invalid({"thresholds": "must be an object of numbers by name"})
    wrong = settings.wrong_values(rule.THRESHOLDS, given)
    if wrong:
        raise _invalid({f"thresholds.{name}": why for name, why in wrong.items()})
    return rule, dict(given)


def is_tried(rule: rules.Rule) -> bool:
    """Whether heartbeats are all that it looks at."""
    return rule is not restart_failed


def _invalid(wrong: dict[str, str]) -> ApiError:
    return ApiError(422, "invalid", "; ".join(f"{name}: {why}" for name, why in wrong.items()), fields=wrong)


def of_project(
    project: Project, rule: rules.Rule, given: Mapping[str, Any], since: datetime, until: datetime
) -> tuple[list[Trial], int]:
    """The same for all agents of a project, those that reported last; and how many others there are.

    The project may be a copy with other `rules` than are stored.
    """
    with _turn():
        return _of_project(project, rule, given, since, until)


def _of_project(
    project: Project, rule: rules.Rule, given: Mapping[str, Any], since: datetime, until: datetime
) -> tuple[list[Trial], int]:
    reported = project.agents.filter(state__last_beat_at__isnull=False).order_by("-state__last_beat_at", "pk")
    agents = list(reported.select_related("state")[:MAX_AGENTS])
    most = MAX_BEATS // max(1, len(agents))
    for agent in agents:
        agent.project = project
    found = [_of_agent(agent, rule, given, since, until, most=most) for agent in agents]
    return found, reported.count() - len(agents)


def of_agent(
    agent: Agent,
    rule: rules.Rule,
    given: Mapping[str, Any],
    since: datetime,
    until: datetime,
    *,
    most: int = MAX_BEATS,
    alone: bool = False,
) -> Trial:
    """Replay an agent's heartbeats of a time with these thresholds, whether the rule is switched on or not.

    They go over what is set of the agent; `alone`, they are all that is.
    """
    with _turn():
        return _of_agent(agent, rule, given, since, until, most=most, alone=alone)


@contextmanager
def _turn() -> Iterator[None]:
    """Heartbeats come in through the same processes: nobody waits here, and few replays run beside them at once."""
    if not _turns.acquire(blocking=False):
        message = "Other rules are being tried just now; try it again in a few seconds."
        raise ApiError(503, "busy", message, retry_after=5)
    try:
        yield
    finally:
        _turns.release()


def _of_agent(
    agent: Agent,
    rule: rules.Rule,
    given: Mapping[str, Any],
    since: datetime,
    until: datetime,
    *,
    most: int = MAX_BEATS,
    alone: bool = False,
) -> Trial:
    kept = limits.kept(agent.project.team_id)
    kept_beats = _stored(agent, until - kept, until)
    from_id = kept_beats.order_by("-id").values_list("id", flat=True)[most - 1 : most].first()
    cut = from_id is not None and kept_beats.filter(id__lt=from_id).exists()
    run = _Run(_armed(agent, rule, given, alone=alone), rule, _outages(since, until))
    begin = max(since - LEARNED_FROM, until - kept)
    rows = kept_beats.filter(id__gte=from_id or 0, received_at__gte=begin).order_by("id")
    run.through(rows.iterator(CHUNK), since, until)
    covered, why = _covered(run.first, since, until - kept, f"only the newest {most:,} are read" if cut else "")
    return Trial(
        agent=agent,
        rule=rule,
        thresholds=_shown(run.agent, rule),
        since=since,
        until=until,
        covered_from=covered,
        heartbeats=run.heartbeats,
        before=run.before,
        why=why,
        note=_note(run.heartbeats),
        episodes=[one for one in run.episodes if one.over_at is None or one.over_at > since],
        real=_real(agent, covered, until),
    )


def _stored(agent: Agent, earliest: datetime, until: datetime) -> QuerySet[Heartbeat]:
    beats = Heartbeat.objects.filter(agent=agent, day__gte=earliest.date(), received_at__lte=until)
    return beats.filter(received_at__gte=earliest).defer("answer")


def _covered(first: datetime | None, since: datetime, earliest: datetime, cut: str) -> tuple[datetime, str]:
    """From when on there is something to judge, and why not from the time that was asked for."""
    if first is None or first <= since:
        return since, ""
    if cut:
        return first, f"of its heartbeats {cut}"
    if since < earliest:
        return first, "the plan keeps no older history"
    return first, "its first stored heartbeat is of then"


def _note(heartbeats: int) -> str:
    if not heartbeats:
        return "No heartbeat of this time is stored, so there is nothing to try it on."
    few = "one heartbeat" if heartbeats == 1 else f"{heartbeats} heartbeats"
    return f"Only {few} of this time: what is found in so little says little." if heartbeats < MIN_BEATS else ""


def _real(agent: Agent, since: datetime, until: datetime) -> list[Signal]:
    lasted = Q(cleared_at__isnull=True) | Q(cleared_at__gte=since)
    return list(Signal.objects.filter(lasted, agent=agent, opened_at__lte=until).select_related("incident"))


def _outages(since: datetime, until: datetime) -> list[clocks.Span]:
    begin = since - LEARNED_FROM - outage_log.REMEMBERED
    known = Outage.objects.filter(ended_at__gt=begin, ended_at__lte=until).values_list("started_at", "ended_at")
    return outage_log.merged(clocks.Span(start, end) for start, end in known)


def _armed(agent: Agent, rule: rules.Rule, given: Mapping[str, Any], *, alone: bool) -> Agent:
    """A copy of the agent with the rule switched on and these thresholds set. It is never saved."""
    tried = copy.copy(agent)
    own = {} if alone else agent.rules.get(rule.KIND, {})
    values = {name: value for name, value in {**own, **given}.items() if name not in (settings.ON, settings.OFF)}
    for name in (one.name for one in rule.THRESHOLDS if one.column):
        if alone or name in given:
            setattr(tried, name, as_column(name, values.pop(name, None)))
    tried.rules = {rule.KIND: {**values, settings.ON: True}}
    tried.paused_at = tried.resumed_at = None
    return tried


def as_column(name: str, value: float | None) -> Any:
    """A threshold as the agent's own setting of that name holds it: money exactly."""
    return Decimal(str(value)) if value is not None and name.endswith("_usd") else value


def _shown(tried: Agent, rule: rules.Rule) -> dict[str, Any]:
    """The thresholds in force, settings of the agent's own among them."""
    own = {one.name: getattr(tried, one.name) for one in rule.THRESHOLDS if one.column}
    found = {name: float(value) for name, value in own.items() if value is not None}
    return {**found, **rules.in_force(rule, tried.project.rules, tried.rules).thresholds}


@dataclass(slots=True)
class _Run:
    """One agent's heartbeats, folded and judged in the order in which they came."""

    agent: Agent
    rule: rules.Rule
    outages: Sequence[clocks.Span]
    episodes: list[Episode] = field(default_factory=list)
    heartbeats: int = 0
    before: int = 0
    first: datetime | None = None
    _state: AgentState = field(init=False)
    _memory: AgentMemory = field(init=False)
    _unread: list[Heartbeat] = field(default_factory=list)
    _now: datetime = field(init=False)
    _processes: int = 0

    def __post_init__(self) -> None:
        declared = {name: getattr(self.agent.state, name) for name in DECLARED}
        self._state = AgentState(agent=self.agent, instance="0", **declared)
        self._memory = AgentMemory(agent=self.agent, rules={})

    def through(self, rows: Iterator[Heartbeat], since: datetime, until: datetime) -> None:
        for row in rows:
            self.first = self.first or row.received_at
            self._wait(row.received_at)
            self._take(row)
            self.heartbeats += row.received_at >= since
            self.before += row.received_at < since
        if self.first is not None:
            self._wait(until)
            self._look(until)

    def _wait(self, until: datetime) -> None:
        """Let time pass, and look whenever the review would have."""
        self._now = self._now if self.before + self.heartbeats else until
        while self._state.check_at is not None and self._state.check_at < until:
            self._look(max(self._state.check_at, self._now))
        if self._standing() and self._standing_grows() and until - JUST_BEFORE > self._now:
            self._look(until - JUST_BEFORE)

    def _take(self, row: Heartbeat) -> None:
        self._now = max(self._now, row.received_at)
        zone = ZoneInfo(self.agent.project.time_zone)
        self._processes += decoding.begins_a_process(row)
        beat, spent = decoding.beat_of(row, self._state, self._processes), decoding.spent_of(row, zone)
        moment = hot_row.IngestTime(received_at=self._now, stored_at=self._now, today=self._now.astimezone(zone).date())
        # The row has the columns of the one that heartbeats are folded into.
        fold.fold(cast("hot_row.Hot", self._state), beat, spent, _set(self.agent), moment, "")
        self._unread.append(row)
        if self._state.check_at is not None and self._state.check_at <= self._now:
            self._look(self._now)

    def _look(self, now: datetime) -> None:
        self._now = now
        outages = [clocks.Span(span.start, min(span.end, now)) for span in self.outages if span.start < now]
        case = case_of(self._state, outages)
        case.beats = [decoding.seen(row) for row in self._unread]
        self._unread = []
        review.ask(case, outages, now, {self.rule.KIND: self.rule})
        self._note(case.findings[0] if case.findings else None, now)
        self._state.status = outcome.status_of(case, now)
        # What only grows older needs no new words every minute.
        case.findings = [one for one in case.findings if one.kind not in outcome.GROWS_OLDER]
        self._state.check_at = outcome.look_again(case, now)

    def _note(self, finding: Finding | None, now: datetime) -> None:
        standing = self._standing()
        if finding is None and standing is not None:
            standing.over_at = now
        elif finding is not None and standing is not None:
            standing.again(finding)
        elif finding is not None:
            self.episodes.append(Episode(finding, now))

    def _standing(self) -> Episode | None:
        return self.episodes[-1] if self.episodes and self.episodes[-1].over_at is None else None

    def _standing_grows(self) -> bool:
        standing = self._standing()
        return standing is not None and standing.finding.kind in outcome.GROWS_OLDER


def _set(agent: Agent) -> hot_row.AgentLimits:
    def micros(usd: Decimal | None) -> int | None:
        return None if usd is None else int(usd * MICRO)

    return hot_row.AgentLimits(
        clocks=agent.clock_settings,
        daily_budget=micros(agent.daily_budget_usd),
        run_budget=micros(agent.run_budget_usd),
        daily_tokens=agent.daily_token_limit,
        paused=False,
    )
