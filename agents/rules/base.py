"""What every rule sees and says. A rule is a module with KIND, LABEL, THRESHOLDS and `check(facts)`.

It may have EVIDENCE, the words for what its findings stand on, and `allow(evidence)`, what to set if it may be so.

It never sees a model. `facts.thresholds` holds what is in force, defaults included (see `settings.py`).

A rule that needs more than the last beat also has `read(memory, beats)`, which folds new heartbeats into the JSON
that is kept for it between reviews.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any, Final, NamedTuple, Protocol

from agents.budgets import Month
from agents.clocks import Clock
from agents.fold import BLIND, DYING, EXPECTED

WARNING = "warning"
CRITICAL = "critical"
SEVERITIES = (WARNING, CRITICAL)
# Thresholds with this at the end of their name are one number for each tool: `budget:TOOL`.
PER_TOOL: Final = ":TOOL"


@dataclass(frozen=True, slots=True)
class Threshold:
    """A number that people may set for a project or an agent; `why` is one sentence about its default.

    `kind` is int, float or bool. A default of None is no number: `why` says what decides then. `column` says that an
    agent has a setting of this name of its own, which is not kept among its `rules`.
    """

    name: str
    kind: type[int] | type[float] | type[bool]
    default: float | None
    unit: str
    least: float
    most: float
    why: str
    column: bool = False

    @property
    def per_tool(self) -> bool:
        return self.name.endswith(PER_TOOL)


Thresholds = tuple[Threshold, ...]

# Where a page says it: beside the reason, behind a disclosure, as a text of its own to be copied, or nowhere, for the
# reason says it already.
OPEN, DETAIL, TEXT, NOWHERE = "open", "detail", "text", "nowhere"
# The unit of a duration.
SECONDS: Final = "s"


class Word(NamedTuple):
    """What people read for a name of a finding's evidence.

    `unit` stands behind a number; `values` are the words for values of which there are few; `is_code` is for names
    that programs gave.
    """

    label: str
    place: str = OPEN
    unit: str = ""
    values: Mapping[Any, str] = {}
    is_code: bool = False


Words = Mapping[str, Word]


class Setting(NamedTuple):
    """What a person sets if something may be as it is: a sentence, and the threshold that it speaks of; of the
    project where it is no threshold of the rule. Empty: the rule's switch."""

    text: str
    threshold: str = ""
    of_project: bool = False


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


def spoken(seconds: float) -> str:
    """A duration as people say it: `40 seconds`, `47 minutes`, `3 hours`."""
    for size, name in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}s"
    whole = round(seconds)
    return f"{whole} second{'' if whole == 1 else 's'}"


def o_clock(at: datetime, zone: tzinfo, now: datetime) -> str:
    """`02:13`, with its date unless that is today's."""
    local = at.astimezone(zone)
    same_day = local.date() == now.astimezone(zone).date()
    return f"{local:%H:%M}" if same_day else f"{local.day} {local:%b %H:%M}"


def since(then: datetime, now: datetime) -> float:
    return max(timedelta(0), now - then).total_seconds()
