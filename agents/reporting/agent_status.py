"""An agent's status at one moment: both clocks, today's spend, the open incident. Reads, never writes.

The stored status is the review's last conclusion; only `late` follows from the clock, here and in `rank`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.db.models import Case, Exists, F, FloatField, Func, IntegerField, OuterRef, Q, QuerySet, Value, When
from django.db.models.expressions import OrderBy
from django.db.models.functions import Coalesce, Greatest
from django.db.models.lookups import GreaterThan

from agents.domain import clocks, instances, signal_kinds
from agents.domain.budgets import NEAR as NEAR_SHARE
from agents.domain.budgets import Limits, Spend
from agents.domain.client_warning import ClientWarning
from agents.ingest import hosts
from agents.models import Agent, AgentState, Incident, Severity, Signal, SignalKind, Status, kind_label
from agents.reporting import formatting, strips
from agents.storage import monthly_spend, outage_log

WORST_FIRST: Final = [status.value for status in Status]
# Everything worse than late.
PROBLEM_STATUSES: Final = (Status.DOWN, Status.STALLED, Status.WARNING)
# Two kinds of warning are counted and filtered separately.
LOOPING: Final = "looping"
OVER_BUDGET: Final = "over_budget"
# Statuses as they are displayed and counted, worst first: warnings are split by their open signals.
DISPLAY_STATUSES: Final = [
    pair
    for status in Status
    for pair in ([(LOOPING, "looping"), (OVER_BUDGET, "over budget")] if status is Status.WARNING else [])
    + [(status.value, str(status.label))]
]
NEEDS_ATTENTION: Final = (LOOPING, OVER_BUDGET, *PROBLEM_STATUSES)
# Stored statuses that are shown as late once the heartbeat is due.
_CAN_BE_LATE: Final = (Status.OK, Status.NEW, Status.WAITING)
# No clock runs in one of these.
ENDED: Final = (Status.PAUSED, Status.STOPPED)
# The heartbeat clock of a process that crashed or that its runner found not running.
DEAD: Final = "not running"
# Width of a full progress bar.
BAR: Final = 100
# Percent of a budget at which it is nearly spent.
NEAR_PERCENT: Final = round(100 * NEAR_SHARE)


@dataclass(frozen=True, slots=True)
class ClockDisplay:
    """One clock as the page shows it. `share` is the elapsed part of the allowed time, 0 to 1; `tone` is good, late
    or bad. A clock that was overtaken by a crash or a runner's report `is_dead`, whatever its deadline says."""

    text: str
    deadline: datetime
    last_at: datetime
    allowed: float
    share: float
    tone: str
    is_dead: bool = False

    @property
    def width(self) -> int:
        return round(self.share * BAR)


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """One agent at one moment. A clock that does not run is None. Money is micro-dollars."""

    agent: Agent
    status: str
    alive: ClockDisplay | None
    progress: ClockDisplay | None
    interval: float
    tokens: int
    spend: Spend
    limits: Limits
    incident: Incident | None
    today: date
    is_trial: bool = False
    strip: strips.Strip | None = None

    @property
    def label(self) -> str:
        return str(Status(self.status).label)

    @property
    def display_status(self) -> str:
        """One of `DISPLAY_STATUSES`. The hot row already lists the two warnings that clients receive."""
        kinds = self._warned_of if self.status == Status.WARNING else ()
        return LOOPING if SignalKind.LOOP in kinds else OVER_BUDGET if SignalKind.COST in kinds else self.status

    @property
    def _warned_of(self) -> set[str]:
        return {ClientWarning.decode(key).kind for key, _ in self.state.warnings or ()}

    @property
    def incident_label(self) -> str:
        """The kind of its incident, as severe as this kind is now: another signal may have made it critical."""
        kind = self.incident.kind if self.incident else ""
        is_critical = kind in self._warned_of or (kind == SignalKind.ERROR and self.state.runner_down)
        return kind_label(kind, Severity.CRITICAL if is_critical else Severity.WARNING) if kind else ""

    @property
    def display_label(self) -> str:
        return dict(DISPLAY_STATUSES)[self.display_status]

    @property
    def last_report(self) -> str:
        """What its last heartbeat was: that of a dead process may be its crash, or its runner's."""
        return "last report" if self.alive and self.alive.is_dead else "last heartbeat"

    @property
    def state(self) -> AgentState:
        return self.agent.state

    @property
    def cost(self) -> int:
        return self.spend.cost

    @property
    def budget(self) -> int | None:
        """Today's, in micro-dollars."""
        return self.limits.day

    @property
    def month(self) -> Spend:
        state = self.state
        same = state.month == self.today.replace(day=1)
        return Spend(state.cost_month, state.priced_month, state.unpriced_month) if same else Spend()

    @property
    def run(self) -> Spend:
        """Since the client was last started."""
        return Spend(*instances.worst_run(self.state)[1:])

    @property
    def ever(self) -> Spend:
        return Spend(self.state.cost_total, self.state.priced_total, self.state.unpriced_total)

    @property
    def models_without_price(self) -> dict[str, int]:
        """Today's tokens per model without a known price."""
        return self.state.unpriced or {} if self.spend.unpriced else {}

    @property
    def spent(self) -> int | None:
        """Percent of today's budget, rounded down: 99.6 % is not exceeded."""
        return 100 * self.cost // self.budget if self.budget else None

    @property
    def spent_width(self) -> int:
        """Width of the budget bar. A budget of zero is always spent."""
        return BAR if self.spent is None else min(BAR, self.spent)

    @property
    def spent_tone(self) -> str:
        return "bad" if self.spent_width >= BAR else "late" if self.spent_width >= NEAR_PERCENT else "good"

    @property
    def host(self) -> str:
        return host_of(self.agent)


def host_of(agent: Agent) -> str:
    """The host: from a label, else the reporter's own name, else the address it reports from."""
    return hosts.labelled(agent.labels) or agent.state.source.partition("/")[2].rpartition("/")[2]


def statuses(agents: Iterable[Agent], now: datetime) -> list[AgentStatus]:
    """In the given order. Reads `project`, `state` and `state.incident`: fetch them with `with_related`."""
    outages = outage_log.outages(now)
    return [_status_of(agent, outages, now) for agent in agents]


def with_strips(rows: Sequence[AgentStatus], now: datetime) -> list[AgentStatus]:
    """The same rows with their activity strips."""
    drawn = strips.strips_for([_strip_request(row, now) for row in rows], now)
    return [replace(row, strip=drawn[row.agent.pk]) for row in rows]


def _strip_request(row: AgentStatus, now: datetime) -> strips.StripRequest:
    allowed = row.interval + clocks.grace(row.agent.clock_settings, row.interval)
    # An agent that never reported must not be drawn as silent.
    since = row.agent.created_at if row.state.last_beat_at else now
    return strips.StripRequest(row.agent.pk, allowed, since)


def with_related(agents: QuerySet[Agent]) -> QuerySet[Agent]:
    """The queryset with everything `statuses` reads."""
    return agents.select_related("project__team", "state__incident")


def _status_of(agent: Agent, outages: Sequence[clocks.Span], now: datetime) -> AgentStatus:
    state, settings = agent.state, agent.clock_settings
    # A job is silent between its runs; when the next one is due, its schedule says.
    is_job = agent.kind == Agent.Kind.JOB
    alive = None if is_job else clocks.alive(settings, state, outages)
    progress = None if is_job else clocks.progress(settings, state, outages)
    status = _status(state, alive, now)
    incident = state.incident if state.incident and not state.incident.resolved_at else None
    day = now.astimezone(ZoneInfo(agent.project.time_zone)).date()
    tokens, spend = spent_on(state, day)
    return AgentStatus(
        agent=agent,
        status=status,
        alive=_alive_display(state, alive, now) if status not in ENDED else None,
        progress=_clock_display(progress, state.last_progress_at, now) if _is_progress_due(state, status) else None,
        interval=clocks.interval(settings, state),
        is_trial=state.last_beat_at is not None and clocks.is_trial(settings, state),
        tokens=tokens,
        spend=spend,
        limits=monthly_spend.limits(agent, state),
        today=day,
        incident=incident,
    )


def spent_on(state: AgentState, day: date) -> tuple[int, Spend]:
    """Tokens and money of that day; the hot row may still hold yesterday's numbers."""
    if state.day != day:
        return 0, Spend()
    unpriced = sum((state.unpriced or {}).values())
    return state.tokens_today, Spend(state.cost_today, state.priced_today, unpriced)


def _status(state: AgentState, alive: clocks.Clock | None, now: datetime) -> str:
    if state.agent.paused_at:
        return Status.PAUSED
    if alive is not None and alive.due_at < now and state.status in _CAN_BE_LATE:
        return Status.LATE
    return state.status


def _is_progress_due(state: AgentState, status: str) -> bool:
    """What is down makes no progress, and what is on hold shall make none; it can only be stalled since before."""
    return status not in (*ENDED, Status.DOWN) and not (state.hold and status != Status.STALLED)


def _alive_display(state: AgentState, clock: clocks.Clock | None, now: datetime) -> ClockDisplay | None:
    """The last heartbeat of a process that is known to be dead says nothing: it may be its crash or its runner's."""
    shown = _clock_display(clock, state.last_beat_at, now)
    if shown is None or state.status != Status.DOWN or not (state.crashed or state.runner_down):
        return shown
    return replace(shown, text=DEAD, share=1.0, tone="bad", is_dead=True)


def _clock_display(clock: clocks.Clock | None, last: datetime | None, now: datetime) -> ClockDisplay | None:
    """Green until due, amber until the deadline, red after it."""
    if clock is None or last is None:
        return None
    allowed = (clock.deadline - last).total_seconds()
    share = min(1.0, max(0.0, (now - last).total_seconds() / allowed)) if allowed > 0 else 1.0
    tone = "good" if now <= clock.due_at else "late" if now < clock.deadline else "bad"
    return ClockDisplay(formatting.due(clock.due_at, now), clock.deadline, last, allowed, share, tone)


class _Epoch(Func):
    """A time as seconds since 1970, on both databases."""

    output_field = FloatField()

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(compiler, connection, template="EXTRACT(EPOCH FROM %(expressions)s)", **extra)

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(
            compiler, connection, template="((JULIANDAY(%(expressions)s) - 2440587.5) * 86400.0)", **extra
        )


def is_late(now: datetime) -> Q:
    """A query condition: past the interval, not reviewed yet. Watchdog outages do not count here."""
    learned = Greatest(
        F("state__usual_gap"),
        Case(
            When(state__beats__gte=clocks.LEARNED_AFTER, then=Value(clocks.MIN_LEARNED)),
            default=Value(clocks.DEFAULT_INTERVAL),
            output_field=FloatField(),
        ),
    )
    unlearned = Case(When(state__usual_gap__isnull=True, then=Value(clocks.DEFAULT_INTERVAL)), default=learned)
    trial = When(state__beats__lte=clocks.MAX_TRIAL, then=Value(clocks.TRIAL_ALLOWED))
    untold = Case(trial, default=unlearned, output_field=FloatField())
    every = Coalesce("interval", "state__declared_interval", untold, output_field=FloatField())
    seconds = Value(now.astimezone(UTC).timestamp(), output_field=FloatField())
    # SQLite's MAX is null if anything is; an agent that was never paused has no `resumed_at`.
    since = Greatest("state__last_beat_at", Coalesce("resumed_at", "state__last_beat_at"))
    due = GreaterThan(seconds, _Epoch(since) + every)
    never_late = Q(kind=Agent.Kind.JOB)
    return Q(state__status__in=_CAN_BE_LATE, state__last_beat_at__isnull=False) & ~never_late & Q(due)


def display_status(now: datetime) -> Case:
    """A query expression: one of `DISPLAY_STATUSES`."""
    warned = Q(state__status=Status.WARNING)
    return Case(
        When(is_late(now), then=Value(Status.LATE.value)),
        When(warned & Exists(_open_signals(kind=SignalKind.LOOP)), then=Value(LOOPING)),
        When(
            warned & Exists(_open_signals(kind=SignalKind.COST, severity=Severity.CRITICAL)),
            then=Value(OVER_BUDGET),
        ),
        default=F("state__status"),
    )


def _open_signals(**conditions: str) -> QuerySet[Signal]:
    return Signal.objects.filter(agent=OuterRef("pk"), cleared_at__isnull=True, **conditions)


def worst_first(now: datetime) -> list[Case | OrderBy | str]:
    """How to order agents: by status, then those with a critical signal before those with warnings, what nobody has
    acknowledged first, and the longest first; by name last."""
    longest_first = F("state__incident__started_at").asc(nulls_last=True)
    return [_rank(now), _severity_rank(), _acknowledged_last(), longest_first, "name", "pk"]


def _rank(now: datetime) -> Case:
    """A query expression: 0 is the worst."""
    ranks = [When(state__status=status, then=Value(position)) for position, status in enumerate(WORST_FIRST)]
    late = When(is_late(now), then=Value(WORST_FIRST.index(Status.LATE)))
    return Case(late, *ranks, default=Value(len(ranks)), output_field=IntegerField())


def _severity_rank() -> Case:
    is_open = Q(state__incident__isnull=False, state__incident__resolved_at=None)
    # By what is wrong now: an incident stays critical after its crash is over and only a budget's warning is left.
    critical = When(is_open & Exists(_open_signals(severity=Severity.CRITICAL)), then=Value(0))
    return Case(critical, When(is_open, then=Value(1)), default=Value(2), output_field=IntegerField())


def _acknowledged_last() -> Case:
    acknowledged = When(state__incident__acknowledged_at__isnull=False, then=Value(1))
    return Case(acknowledged, default=Value(0), output_field=IntegerField())


def by_cause(signals: Iterable[Signal], status: str) -> list[Signal]:
    """Open signals with those first that explain the status, then the critical ones, then the oldest."""

    def order(signal: Signal) -> tuple[bool, bool, int]:
        return not _explains(signal, status), signal.severity != Severity.CRITICAL, signal.pk

    return sorted(signals, key=order)


def is_unproven(signals: Sequence[Signal], status: str) -> bool:
    """Whether the agent reports again after a restart, and only progress can end its incident: nothing that is still
    found gives it this status."""
    return status == Status.WARNING and bool(signals) and not any(_explains(signal, status) for signal in signals)


def _explains(signal: Signal, status: str) -> bool:
    return status_of(signal.kind, is_critical=signal.severity == Severity.CRITICAL) == status


def status_of(kind: str, *, is_critical: bool) -> str:
    """The status that a signal of this kind gives its agent."""
    traits = signal_kinds.traits(kind)
    return Status.DOWN if traits.down_if_runner_confirms and is_critical else traits.shown_as
