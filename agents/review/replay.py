"""Replays one agent's stored heartbeats through the same fold and review as live ones. Writes nothing.

Heartbeats are folded into a hot row that is never saved, and rules are asked whenever the review would have looked, by
a clock that the heartbeats set. What is not stored is taken as it is today: what the client declared, and settings
other than the thresholds. Pauses are not replayed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, cast
from zoneinfo import ZoneInfo

from agents import rules
from agents.domain import clocks, hot_row, signal_kinds
from agents.domain.money import MICRO
from agents.incidents import lifecycle
from agents.incidents.nudges import Told
from agents.ingest import fold
from agents.models import Agent, AgentMemory, AgentState, Heartbeat
from agents.review import outcome, review, stops
from agents.review.case import Case, case_of
from agents.rules.facts import Finding
from agents.storage import decoding

# Before the heartbeat that ends a silence, its reason and evidence are brought up to date once more.
LAST_LOOK: Final = timedelta(seconds=1)
# Columns that the client declared and no stored heartbeat repeats.
DECLARED: Final = ("declared_interval", "declared_progress_timeout", "cost_limit", "restart_type", "restart_target")


@dataclass(slots=True)
class Episode:
    """What would have been a signal: open from `fired_at` to `over_at` (None: still open at the end).

    `told`: what a nudge would have told the agent; `stopped_at`: when a hold would have stopped it.
    """

    finding: Finding
    fired_at: datetime
    over_at: datetime | None = None
    told: Told | None = None
    stopped_at: datetime | None = None

    def extend(self, finding: Finding) -> None:
        """Bring it up to date as the review does with an open signal; its start stays."""
        severity = lifecycle.severity_after(finding.kind, self.finding.severity, finding.severity)
        self.finding = replace(finding, started_at=self.finding.started_at, severity=severity)

    def hold(self, agent_type: str, now: datetime) -> None:
        """Note the nudge when it begins, and the first moment of a hold. What came after that is replayed, too."""
        if now == self.fired_at:
            self.told = stops.told(self.finding, agent_type, now)
        if self.stopped_at is None and stops.stops(self.finding, agent_type, self.told):
            self.stopped_at = now


@dataclass(slots=True)
class Replay:
    """One agent's heartbeats, folded and reviewed in the order in which they came.

    `heartbeats` counts those of the time in question, `heartbeats_before` those read only to learn what is usual;
    `first_at` is when the first of all was received.
    """

    agent: Agent
    rule: rules.Rule
    outages: Sequence[clocks.Span]
    episodes: list[Episode] = field(default_factory=list)
    heartbeats: int = 0
    heartbeats_before: int = 0
    first_at: datetime | None = None
    _state: AgentState = field(init=False)
    _memory: AgentMemory = field(init=False)
    _unread: list[Heartbeat] = field(default_factory=list)
    _now: datetime = field(init=False)
    _processes: int = 0

    def __post_init__(self) -> None:
        declared = {name: getattr(self.agent.state, name) for name in DECLARED}
        self._state = AgentState(agent=self.agent, instance="0", **declared)
        self._memory = AgentMemory(agent=self.agent, rules={})

    def run(self, rows: Iterable[Heartbeat], since: datetime, until: datetime) -> None:
        for row in rows:
            if self.first_at is None:
                self.first_at = self._now = row.received_at
            self._let_time_pass(row.received_at)
            self._fold(row)
            self.heartbeats += row.received_at >= since
            self.heartbeats_before += row.received_at < since
        if self.first_at is not None:
            self._let_time_pass(until)
            self._review(until)

    def _let_time_pass(self, until: datetime) -> None:
        """Review whenever the live review would have."""
        while self._state.check_at is not None and self._state.check_at < until:
            self._review(max(self._state.check_at, self._now))
        if self._is_reason_growing() and until - LAST_LOOK > self._now:
            self._review(until - LAST_LOOK)

    def _fold(self, row: Heartbeat) -> None:
        self._now = max(self._now, row.received_at)
        zone = ZoneInfo(self.agent.project.time_zone)
        self._processes += decoding.begins_a_process(row)
        beat, spent = decoding.beat_of(row, self._state, self._processes), decoding.spent_of(row, zone)
        moment = hot_row.IngestTime(received_at=self._now, stored_at=self._now, today=self._now.astimezone(zone).date())
        # The row has the columns of the one that heartbeats are folded into.
        folded = fold.fold(cast("hot_row.Hot", self._state), beat, spent, _limits(self.agent), moment, "")
        self._unread.append(row)
        if folded.unread or (self._state.check_at is not None and self._state.check_at <= self._now):
            self._review(self._now)

    def _review(self, now: datetime) -> None:
        self._now = now
        outages = [clocks.Span(span.start, min(span.end, now)) for span in self.outages if span.start < now]
        case = case_of(self._state, outages)
        case.beats = [decoding.seen(row) for row in self._unread]
        self._unread = []
        review.ask_rules(case, outages=outages, now=now, only={self.rule.KIND: self.rule})
        self._update_episodes(case.findings[0] if case.findings else None, now)
        self._write_outcome(case, now)

    def _write_outcome(self, case: Case, now: datetime) -> None:
        self._state.status = outcome.status_of(case, now)
        # `_let_time_pass` updates a growing reason once at its end, which is cheaper than every minute.
        case.findings = [finding for finding in case.findings if not signal_kinds.traits(finding.kind).reason_grows]
        self._state.check_at = outcome.next_review(case, now)

    def _update_episodes(self, finding: Finding | None, now: datetime) -> None:
        episode = self._open_episode()
        if finding is None:
            if episode is not None:
                episode.over_at = now
            return
        if episode is None:
            episode = Episode(finding, now)
            self.episodes.append(episode)
        else:
            episode.extend(finding)
        episode.hold(self.agent.agent_type, now)

    def _open_episode(self) -> Episode | None:
        return self.episodes[-1] if self.episodes and self.episodes[-1].over_at is None else None

    def _is_reason_growing(self) -> bool:
        episode = self._open_episode()
        return episode is not None and signal_kinds.traits(episode.finding.kind).reason_grows


def _limits(agent: Agent) -> hot_row.AgentLimits:
    return hot_row.AgentLimits(
        clocks=agent.clock_settings,
        daily_budget=_micros(agent.daily_budget_usd),
        run_budget=_micros(agent.run_budget_usd),
        daily_tokens=agent.daily_token_limit,
        paused=False,
    )


def _micros(usd: Decimal | None) -> int | None:
    return None if usd is None else int(usd * MICRO)
