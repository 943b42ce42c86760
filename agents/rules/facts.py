"""What every rule sees and says. A rule is a module with KIND, LABEL, THRESHOLDS and `check(facts)`.

It may have EVIDENCE, the labels of its findings' evidence, and `allow(evidence)`, what to set if a finding is expected.

A rule never sees a model. `facts.thresholds` holds what is in force, defaults included (see `settings.py`).

A rule that needs more than the last heartbeat also has `read(memory, beats)`, which folds new heartbeats into the JSON
that is kept for it between reviews.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any, Protocol

from agents.domain.budgets import Month
from agents.domain.clocks import Clock
from agents.domain.notes import BLIND, DYING, EXPECTED

WARNING = "warning"
CRITICAL = "critical"
SEVERITIES = (WARNING, CRITICAL)


class Seen(Protocol):
    """The columns of the hot row that rules read; times are aware, money is in micro-dollars."""

    reported: str
    crashed: bool
    runner_down: bool
    restart_type: str
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


@dataclass(frozen=True, slots=True)
class BeatSeen:
    """A heartbeat since the last review. `calls` are the tool calls it reported, in order.

    `note` is `started` on the first one of a new process, `expected` where a runner finds a stopped agent not running,
    `dying` right behind a crash, `blind` where a runner cannot look. `evidence` is what a runner saw, `waiting` what
    the agent said it waits for from then on, `wait_over` that it waits no more. `counter` is the client's own count of
    new calls, None where it sent none; `run` is the run or task that its labels name, `version` the version.
    `doing` is the tool call that went on, with `tool` and `since`. `spent_at` is when its money was spent, None
    for just then.
    """

    received_at: datetime
    status: str
    message: str = ""
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


def is_over(beats: Sequence[BeatSeen]) -> bool:
    """Whether one of them is a good word, so that nothing stands of an error before and it need not be remembered."""
    return any(beat.status in ("ok", "warning") and beat.note not in (EXPECTED, DYING, BLIND) for beat in beats)


@dataclass(frozen=True, slots=True)
class Learned:
    """An agent's rhythm, see `rhythm.py`: seconds of the median gap between progress, and of an ordinary day's longest.

    None where it is not known yet; `quiet_until` where nothing but the timeout counts.
    """

    usual: float | None = None
    longest: float | None = None
    timeout: float | None = None
    quiet_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Outside:
    """What a runner last saw of the agent, and what it said when it could not look; empty when it could."""

    evidence: Mapping[str, Any] = field(default_factory=dict)
    blind: str = ""


@dataclass(frozen=True, slots=True)
class Restarts:
    """Those of the last day, when each was handed to a runner.

    `delays` and `patience` are seconds, see `restart.py`. `needed_for` are the kinds found just now that a restart
    could cure. `given_up` is what was found when they were given up, while that stands.
    """

    made: Sequence[datetime] = ()
    delays: Sequence[float] = ()
    patience: float = 0.0
    needed_for: Collection[str] = ()
    given_up: Finding | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a rule may know of one agent. `today` and `zone` are the project's.

    `budget` is micro-dollars a day, `run_budget` of a run, `token_limit` tokens a day; `month` is all its project's.
    """

    now: datetime
    seen: Seen
    alive: Clock | None
    progress: Clock | None
    interval: float
    paused: bool
    budget: int | None
    today: date
    beats: Sequence[BeatSeen] = ()
    memory: Mapping[str, Any] = field(default_factory=dict)
    thresholds: Mapping[str, Any] = field(default_factory=dict)
    outside: Outside = field(default_factory=Outside)
    restarts: Restarts = field(default_factory=lambda: Restarts())
    rhythm: Learned = field(default_factory=Learned)
    zone: tzinfo = UTC
    run_budget: int | None = None
    token_limit: int | None = None
    month: Month | None = None
    # It was told to stop and ask before anything else was wrong.
    is_held: bool = False
    # The rule for crashes is on.
    tells_crashes: bool = True

    @property
    def is_stopped(self) -> bool:
        return self.seen.reported == "shutdown"

    @property
    def is_silent(self) -> bool:
        return self.alive is not None and self.now >= self.alive.deadline

    @property
    def is_crash_told(self) -> bool:
        return self.seen.crashed and self.tells_crashes

    @property
    def is_waiting(self) -> bool:
        return self.seen.waiting_until is not None and self.seen.waiting_until > self.now


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, since when, and how that is known."""

    kind: str
    severity: str
    reason: str
    started_at: datetime
    evidence: dict[str, Any]


def since(then: datetime, now: datetime) -> float:
    return max(timedelta(0), now - then).total_seconds()
