"""How an agent stands at a moment: its status, both clocks, what it spent today. Reads, never writes.

The stored status is what the review last concluded; only `late` follows from the clock, here and in `rank`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.db.models import Case, Exists, F, FloatField, Func, IntegerField, OuterRef, Q, QuerySet, Value, When
from django.db.models.functions import Coalesce, Greatest
from django.db.models.lookups import GreaterThan

from agents.domain import clocks
from agents.domain.budgets import NEAR as NEARLY
from agents.domain.budgets import Limits, Spend
from agents.domain.client_warning import ClientWarning
from agents.models import Agent, AgentState, Incident, Severity, Signal, SignalKind, Status
from agents.reporting import formatting, strips
from agents.storage import monthly_spend, outage_log

WORST_FIRST: Final = [status.value for status in Status]
# What asks for a person: everything that is worse than late.
BAD: Final = (Status.DOWN, Status.STALLED, Status.WARNING)
# Warnings that are counted and found by themselves.
LOOPING: Final = "looping"
OVER_BUDGET: Final = "over_budget"
# The statuses as they are counted, worst first: warnings are told apart by the signals that stand.
TOLD: Final = [
    pair
    for status in Status
    for pair in ([(LOOPING, "looping"), (OVER_BUDGET, "over budget")] if status is Status.WARNING else [])
    + [(status.value, str(status.label))]
]
TOLD_BAD: Final = (LOOPING, OVER_BUDGET, *BAD)
# Stored statuses that turn late when the beat is due.
_CAN_BE_LATE: Final = (Status.OK, Status.NEW, Status.WAITING)
# Of the bar: how much of it the allowed time takes; the rest is being overdue.
BAR: Final = 100
# Percent of a budget from which on it is nearly spent.
NEAR: Final = round(100 * NEARLY)
# Labels that name the machine, for those who know better than the address of the connection.
HOST_LABELS: Final = ("host", "hostname", "node")


@dataclass(frozen=True, slots=True)
class Dial:
    """One clock as it is shown. `share` is how much of its time has gone, 0 to 1; `tone` is good, late or bad."""

    text: str
    deadline: datetime
    last_at: datetime
    allowed: float
    share: float
    tone: str

    @property
    def width(self) -> int:
        return round(self.share * BAR)


@dataclass(frozen=True, slots=True)
class Standing:
    """One agent at one moment. Clocks are None when they do not run. Money is micro-dollars."""

    agent: Agent
    status: str
    alive: Dial | None
    progress: Dial | None
    interval: float
    tokens: int
    spend: Spend
    limits: Limits
    incident: Incident | None
    today: date
    strip: strips.Strip | None = None

    @property
    def label(self) -> str:
        return str(Status(self.status).label)

    @property
    def told(self) -> str:
        """As in `TOLD`; the hot row names the warnings that clients are given, and these are the same two."""
        kinds = (
            {ClientWarning.decode(key).kind for key, _ in self.state.warnings or ()}
            if self.status == Status.WARNING
            else ()
        )
        return LOOPING if SignalKind.LOOP in kinds else OVER_BUDGET if SignalKind.COST in kinds else self.status

    @property
    def told_label(self) -> str:
        return dict(TOLD)[self.told]

    @property
    def state(self) -> AgentState:
        return self.agent.state

    @property
    def cost(self) -> int:
        return self.spend.cost

    @property
    def budget(self) -> int | None:
        """Of today."""
        return self.limits.day

    @property
    def month(self) -> Spend:
        state = self.state
        same = state.month == self.today.replace(day=1)
        return Spend(state.cost_month, state.priced_month, state.unpriced_month) if same else Spend()

    @property
    def run(self) -> Spend:
        """Since the client was last started."""
        return Spend(self.state.run_cost, self.state.run_priced, self.state.run_unpriced)

    @property
    def ever(self) -> Spend:
        return Spend(self.state.cost_total, self.state.priced_total, self.state.unpriced_total)

    @property
    def models_without_price(self) -> dict[str, int]:
        """Today's tokens by the model that nobody knows the price of."""
        return self.state.unpriced or {} if self.spend.unpriced else {}

    @property
    def spent(self) -> int | None:
        """Percent of today's budget."""
        return round(100 * self.cost / self.budget) if self.budget else None

    @property
    def spent_width(self) -> int:
        """Of the bar. A budget of nothing is always spent."""
        return BAR if self.spent is None else min(BAR, self.spent)

    @property
    def spent_tone(self) -> str:
        return "bad" if self.spent_width >= BAR else "late" if self.spent_width >= NEAR else "good"

    @property
    def host(self) -> str:
        return host_of(self.agent)


def host_of(agent: Agent) -> str:
    """Where it runs: as labelled, else as its reporter names itself, else the address it reports from."""
    labelled = next((str(agent.labels[name]) for name in HOST_LABELS if agent.labels.get(name)), "")
    return labelled or agent.state.source.partition("/")[2].rpartition("/")[2]


def of(agents: Iterable[Agent], now: datetime) -> list[Standing]:
    """How these agents stand. Reads `project`, `state` and `state.incident`: fetch them ahead."""
    outages = outage_log.outages(now)
    return [_standing(agent, outages, now) for agent in agents]


def with_strips(rows: Sequence[Standing], now: datetime) -> list[Standing]:
    """And what they did lately, for rows that show it."""
    found = strips.of([_wanted(row, now) for row in rows], now)
    return [replace(row, strip=found[row.agent.pk]) for row in rows]


def _wanted(row: Standing, now: datetime) -> strips.Wanted:
    """Who never reported was not silent either."""
    allowed = row.interval + clocks.grace(row.agent.clock_settings, row.interval)
    return strips.Wanted(row.agent.pk, allowed, row.agent.created_at if row.state.last_beat_at else now)


def fetched(agents: QuerySet[Agent]) -> QuerySet[Agent]:
    """With all that `of` reads."""
    return agents.select_related("project__team", "state__incident")


def _standing(agent: Agent, outages: Sequence[clocks.Span], now: datetime) -> Standing:
    state = agent.state
    given = agent.clock_settings
    alive = clocks.alive(given, state, outages)
    runs = state.status not in (Status.PAUSED, Status.STOPPED)
    incident = state.incident if state.incident and not state.incident.resolved_at else None
    day = now.astimezone(ZoneInfo(agent.project.time_zone)).date()
    tokens, spend = spent_on(state, day)
    return Standing(
        agent=agent,
        status=_status(state, alive, now),
        alive=_dial(alive, state.last_beat_at, now) if runs else None,
        progress=_dial(clocks.progress(given, state, outages), state.last_progress_at, now) if runs else None,
        interval=clocks.interval(given, state),
        tokens=tokens,
        spend=spend,
        limits=monthly_spend.limits(agent, state),
        today=day,
        incident=incident,
    )


def spent_on(state: AgentState, day: date) -> tuple[int, Spend]:
    """Tokens and money of that day; the hot row may still hold yesterday's."""
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


def _dial(clock: clocks.Clock | None, last: datetime | None, now: datetime) -> Dial | None:
    """Green until it is due, amber up to the deadline, red after it."""
    if clock is None or last is None:
        return None
    allowed = (clock.deadline - last).total_seconds()
    share = min(1.0, max(0.0, (now - last).total_seconds() / allowed)) if allowed > 0 else 1.0
    tone = "good" if now <= clock.due_at else "late" if now < clock.deadline else "bad"
    return Dial(formatting.due(clock.due_at, now), clock.deadline, last, allowed, share, tone)


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
    """For a query: past the interval by the clock, not yet concluded upon. Our own outages do not count here."""
    learned = Greatest(
        F("state__usual_gap"),
        Case(
            When(state__beats__gte=clocks.LEARNED_AFTER, then=Value(clocks.MIN_LEARNED)),
            default=Value(clocks.DEFAULT_INTERVAL),
            output_field=FloatField(),
        ),
    )
    unlearned = Case(When(state__usual_gap__isnull=True, then=Value(clocks.DEFAULT_INTERVAL)), default=learned)
    every = Coalesce("interval", "state__declared_interval", unlearned, output_field=FloatField())
    seconds = Value(now.astimezone(UTC).timestamp(), output_field=FloatField())
    due = GreaterThan(seconds, _Epoch("state__last_beat_at") + every)
    return Q(state__status__in=_CAN_BE_LATE, state__last_beat_at__isnull=False) & Q(due)


def shown_status(now: datetime) -> Case:
    """For a query: the status that is shown."""
    return Case(When(is_late(now), then=Value(Status.LATE.value)), default=F("state__status"))


def told(now: datetime) -> Case:
    """For a query: the status that is shown, one of `TOLD`."""
    warned = Q(state__status=Status.WARNING)
    return Case(
        When(is_late(now), then=Value(Status.LATE.value)),
        When(warned & Exists(_standing_signals(kind=SignalKind.LOOP)), then=Value(LOOPING)),
        When(
            warned & Exists(_standing_signals(kind=SignalKind.COST, severity=Severity.CRITICAL)),
            then=Value(OVER_BUDGET),
        ),
        default=F("state__status"),
    )


def _standing_signals(**which: str) -> QuerySet[Signal]:
    return Signal.objects.filter(agent=OuterRef("pk"), cleared_at__isnull=True, **which)


def rank(now: datetime) -> Case:
    """For a query: 0 is the worst."""
    ranks = [When(state__status=status, then=Value(place)) for place, status in enumerate(WORST_FIRST)]
    late = When(is_late(now), then=Value(WORST_FIRST.index(Status.LATE)))
    return Case(late, *ranks, default=Value(len(ranks)), output_field=IntegerField())
