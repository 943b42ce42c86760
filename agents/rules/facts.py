"""What a rule receives and returns. A rule is a module with KIND, LABEL, THRESHOLDS and `check(facts)`.

Optional: EVIDENCE labels its findings' evidence, `allow(evidence)` says what to set if a finding is expected, and
`read(state, beats)` folds new heartbeats into the JSON that is kept for the rule between reviews (`facts.state`).

A rule never sees a model. `facts.thresholds` holds the effective values, defaults included (see `settings.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any, Protocol

from agents.domain.budgets import Month
from agents.domain.clocks import Clock
from agents.domain.jobs import Job
from agents.domain.notes import BLIND, DYING, EXPECTED, OUTDATED

WARNING = "warning"
CRITICAL = "critical"
SEVERITIES = (WARNING, CRITICAL)


class Row(Protocol):
    """The hot-row columns that rules read. Times are aware, money is in micro-dollars."""

    reported: str
    crashed: bool
    runner_down: bool
    restart_type: str
    restart_target: str
    last_beat_at: datetime | None
    last_progress_at: datetime | None
    waiting_until: datetime | None
    waiting_for: str
    day: date | None
    tokens_today: int
    cost_today: int
    priced_today: int
    unpriced: Mapping[str, int] | None
    cost_month: int
    run_at: datetime | None
    run_cost: int
    run_priced: int
    run_unpriced: int
    declared_interval: float | None
    instances: dict[str, dict[str, Any]] | None


@dataclass(frozen=True, slots=True)
class BeatSeen:
    """A heartbeat since the last review.

    calls: the tool calls it reported, in order. counter: the client's own count of new calls; None if not sent.
    note: what the fold concluded about it, see `agents/domain/notes.py`.
    evidence: what a runner observed.
    waiting: what the agent says it waits for from now on; wait_over: that it no longer waits.
    run: the run or task named by its labels; version: the version named by its labels.
    doing: the tool call in progress, with `tool` and `since`.
    claimed: the restart target that it names against the pinned one, and who reported it.
    job: what it says about a run of a job, see `agents/domain/jobs/`.
    spent_at: when its money was spent; None: when it was received.
    made_at: when it was made, if that was long before it was received; else None.
    """

    received_at: datetime
    status: str
    message: str = ""
    _: KW_ONLY
    custom: str = ""
    calls: Sequence[Mapping[str, Any]] = ()
    tokens: int = 0
    cost: int = 0
    note: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    progress: bool = False
    waiting: str = ""
    wait_over: bool = False
    memory_mb: float | None = None
    counter: int | None = None
    iteration: int | None = None
    run: str = ""
    version: str = ""
    prompts: Sequence[str] = ()
    spent_at: datetime | None = None
    doing: Mapping[str, Any] = field(default_factory=dict)
    claimed: str = ""
    job: Mapping[str, Any] = field(default_factory=dict)
    made_at: datetime | None = None


def is_over(beats: Sequence[BeatSeen]) -> bool:
    """Whether any of these heartbeats is good and comes from the agent itself, which ends an earlier error."""
    return any(
        beat.status in ("ok", "warning") and beat.note not in (EXPECTED, DYING, BLIND, OUTDATED) for beat in beats
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """An agent's learned rhythm in seconds, see `observers/rhythm.py`; None where it is not known yet.

    usual: the median gap between progress. longest: the longest gap on an ordinary day. timeout: the progress timeout.
    quiet_until: until when the agent may be starting or resting; None: only the timeout counts.
    """

    usual: float | None = None
    longest: float | None = None
    timeout: float | None = None
    quiet_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerView:
    """What a runner last observed, and its message if it could not inspect the agent (`blind`)."""

    evidence: Mapping[str, Any] = field(default_factory=dict)
    blind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarts:
    """Restarts handed to a runner in the last day.

    `delays` and `patience` are seconds, see `restart_policy.py`. `needed_for` are the kinds of current findings that a
    restart could fix. `given_up` is the finding of when the watchdog gave up, while that is open.
    """

    made: Sequence[datetime] = ()
    delays: Sequence[float] = ()
    patience: float = 0.0
    needed_for: Collection[str] = ()
    given_up: Finding | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything a rule may know about one agent.

    alive, progress: its two deadlines; None while they do not run. interval: seconds.
    today, zone: the project's date and time zone.
    budget, run_budget: micro-dollars per day and per run. token_limit: tokens per day. month: the project's month.
    """

    now: datetime
    row: Row
    alive: Clock | None = None
    progress: Clock | None = None
    interval: float
    paused: bool = False
    today: date
    zone: tzinfo = UTC
    beats: Sequence[BeatSeen] = ()
    state: Mapping[str, Any] = field(default_factory=dict)
    thresholds: Mapping[str, Any] = field(default_factory=dict)
    runner_view: RunnerView = field(default_factory=RunnerView)
    restarts: Restarts = field(default_factory=lambda: Restarts())
    rhythm: Learned = field(default_factory=Learned)
    budget: int | None = None
    run_budget: int | None = None
    token_limit: int | None = None
    month: Month | None = None
    # The client was told to stop before anything else was wrong.
    is_held: bool = False
    is_crash_rule_on: bool = True
    # Its runs and its schedule, if it is a job.
    job: Job | None = None

    @property
    def is_stopped(self) -> bool:
        return self.row.reported == "shutdown"

    @property
    def is_silent(self) -> bool:
        return self.alive is not None and self.now >= self.alive.deadline

    @property
    def is_crash_reported(self) -> bool:
        return self.row.crashed and self.is_crash_rule_on

    @property
    def is_waiting(self) -> bool:
        return self.row.waiting_until is not None and self.row.waiting_until > self.now


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong: since when, how bad, and the evidence for it."""

    kind: str
    severity: str
    reason: str
    started_at: datetime
    evidence: dict[str, Any]


def since(then: datetime, now: datetime) -> float:
    """Seconds since a moment; 0 if it is in the future."""
    return max(timedelta(0), now - then).total_seconds()
