"""The spend of all agents of a project in a month, checked against its monthly budget.

There is no running total that could drift: the agents' own sums, each exact under its hot row's lock, are added up
whenever one of them reports or is reviewed. A heartbeat is answered from what all others had committed and what it
spends itself, without a lock, so no agent gets a second chance after the budget is exceeded. Every heartbeat with spend
triggers a review of its agent, and the last such review sees all spend before it. A review locks the project's month
from summing to its end, so of two concurrent reviews one sees the result of the other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.db import connection, transaction
from django.db.models import F, QuerySet, Sum

from agents.domain import budgets
from agents.domain.budgets import Limits, Month, Spend
from agents.domain.money import MICRO
from agents.models import Agent, AgentState, MonthSpend
from teams.models import Project

# How a stored level of an exceeded budget begins.
EXCEEDED: Final = "exceeded"
# Hot rows locked at a time, for which heartbeats wait.
LOOK_CHUNK: Final = 500
SUMS: Final = ("tokens", "cost", "priced", "unpriced")


@dataclass(slots=True)
class Months:
    """For one review: the month per agent, the projects whose other agents must be reviewed, too, and the projects
    whose month another transaction has locked."""

    by_agent: dict[int, Month] = field(default_factory=dict)
    crossed: set[int] = field(default_factory=set)
    busy: set[int] = field(default_factory=set)


def micros(usd: Decimal) -> int:
    """Dollars (at most six decimal places) as whole micro-dollars."""
    return int(usd * MICRO)


def limits(agent: Agent, state: AgentState) -> Limits:
    """An agent's own limits. The daily budget is set by a person, else declared by the client."""
    day, run = agent.daily_budget_usd, agent.run_budget_usd
    return Limits(
        day=state.cost_limit if day is None else micros(day),
        run=None if run is None else micros(run),
        tokens=agent.daily_token_limit,
    )


def first_of(project: Project, now: datetime) -> date:
    """The first day of the current month in the project's time zone."""
    return now.astimezone(ZoneInfo(project.time_zone)).date().replace(day=1)


def months(states: Iterable[AgentState], now: datetime) -> Months:
    """How the monthly budgets of these agents' projects stand. Call it with the hot rows locked, in a transaction.

    It waits for no other transaction, because heartbeats wait for the hot rows.
    """
    months = Months()
    by_project: dict[int, list[AgentState]] = {}
    for state in states:
        if state.agent.project.monthly_budget_usd is not None:
            by_project.setdefault(state.agent.project_id, []).append(state)
    rows = _rows({members[0].agent.project for members in by_project.values()}, now) if by_project else {}
    months.busy = by_project.keys() - rows.keys()
    for project_id, members in by_project.items():
        if project_id in months.busy:
            continue
        row = rows[project_id]
        month = _month(members[0].agent.project, row)
        if _store_level(row, month, members):
            months.crossed.add(project_id)
        if row.level != _waived(month):
            months.by_agent |= {
                state.agent_id: replace(month, warns=row.level == _near(month, state.agent_id)) for state in members
            }
    return months


def committed(firsts: Mapping[int, date]) -> dict[int, Month]:
    """Committed spend by project, for the month that begins on the given day. No lock, one statement per month.

    Projects without a monthly budget, or with one that a person waived, are left out.
    """
    months: dict[int, Month] = {}
    for first in set(firsts.values()):
        projects = [project for project, begins in firsts.items() if begins == first]
        for project, limit, level, cost in _stored(projects, first):
            month = Month(first, limit, cost=cost)
            if level != _waived(month):
                months[project] = month
    return months


def _stored(project_ids: Sequence[int], first: date) -> list[tuple[int, int, str, int]]:
    """For projects with a monthly budget: id, budget, its level (see `MonthSpend`), and the spend of all agents.

    Raw SQL, because Django takes longer to build this query than the database takes to answer it.
    """
    sql = f"""
        SELECT p.id, p.monthly_budget_usd, COALESCE(m.level, ''), COALESCE(m.cost, 0) + COALESCE((
            SELECT SUM(s.cost_month) FROM agents_agentstate s JOIN agents_agent a ON a.id = s.agent_id
            WHERE a.project_id = p.id AND s.month = %s), 0)
        FROM teams_project p
        LEFT JOIN agents_monthspend m ON m.project_id = p.id AND m.month = %s
        WHERE p.monthly_budget_usd IS NOT NULL AND p.id IN ({", ".join(["%s"] * len(project_ids))})
    """
    with connection.cursor() as cursor:
        cursor.execute(sql, [first, first, *project_ids])
        return [(pk, round(float(usd) * MICRO), level, int(cost)) for pk, usd, level, cost in cursor.fetchall()]


def _rows(projects: Iterable[Project], now: datetime) -> dict[int, MonthSpend]:
    """The projects' rows for this month, created if missing and locked, except those that others have locked."""
    wanted = {project.pk: first_of(project, now) for project in projects}
    rows = _locked(wanted)
    known = set(_of_months(wanted).values_list("project_id", "month")) if len(rows) < len(wanted) else set()
    missing = [MonthSpend(project_id=pk, month=month) for pk, month in wanted.items() if (pk, month) not in known]
    if len(rows) < len(wanted) and missing:
        MonthSpend.objects.bulk_create(missing, ignore_conflicts=True)
        rows = _locked(wanted)
    return rows


def lock(project_ids: Iterable[int]) -> None:
    """Lock these projects' months in the same order as a review: after hot rows, before incidents."""
    rows = MonthSpend.objects.select_for_update().filter(project__in=list(project_ids))
    list(rows.order_by("project_id", "month").values_list("pk"))


def _locked(wanted: Mapping[int, date]) -> dict[int, MonthSpend]:
    rows = _of_months(wanted).select_for_update(skip_locked=True)
    return {row.project_id: row for row in rows if row.month == wanted[row.project_id]}


def _of_months(wanted: Mapping[int, date]) -> QuerySet[MonthSpend]:
    months = MonthSpend.objects.filter(project__in=wanted, month__in=set(wanted.values()))
    return months.order_by("project_id", "month")


def _month(project: Project, row: MonthSpend) -> Month:
    sums = sums_of(row)
    limit = micros(project.monthly_budget_usd or Decimal(0))
    return Month(row.month, limit, cost=sums["cost"], priced=sums["priced"], unpriced=sums["unpriced"])


def sums_of(row: MonthSpend) -> dict[str, int]:
    """The sums of all agents of the project, including deleted ones."""
    states = AgentState.objects.filter(agent__project=row.project_id, month=row.month)
    current = states.aggregate(**{name: Sum(f"{name}_month") for name in SUMS})
    return {name: getattr(row, name) + (current[name] or 0) for name in SUMS}


def of_month(project: Project, now: datetime) -> Spend:
    """The spend of all the project's agents this month."""
    first = first_of(project, now)
    row = MonthSpend.objects.filter(project=project, month=first).first() or MonthSpend(project=project, month=first)
    sums = sums_of(row)
    return Spend(cost=sums["cost"], priced=sums["priced"], unpriced=sums["unpriced"])


def _store_level(row: MonthSpend, month: Month, members: list[AgentState]) -> bool:
    """Store how the budget stands. Returns whether it was just exceeded, or just no longer is."""
    before, level = row.level, _level(row.level, month, members)
    if level != before:
        row.level = level
        row.save(update_fields=["level"])
    was_exceeded, is_exceeded = before.startswith(EXCEEDED), level.startswith(EXCEEDED)
    return (is_exceeded and level != before) or (was_exceeded and not is_exceeded)


def _level(before: str, month: Month, members: list[AgentState]) -> str:
    """Waived stays waived. A near budget keeps the agent that warns; at first it is the one that spent most."""
    severity = budgets.month_budget(month).severity
    if severity == budgets.CRITICAL:
        return before if before == _waived(month) else f"{EXCEEDED} {month.limit}"
    if not severity:
        return ""
    if before.startswith(_near(month)):
        return before
    return _near(month, max(members, key=lambda state: state.cost_month).agent_id)


def _near(month: Month, agent_id: int | None = None) -> str:
    return f"near {month.limit} {'' if agent_id is None else agent_id}"


def _waived(month: Month) -> str:
    # The stored text of earlier versions.
    return f"let pass at {month.limit}"


def waive(agent: Agent, evidence: Mapping[str, Any]) -> None:
    """A person resolved the incident of an exceeded monthly budget: it holds no agent any more, nor new ones."""
    for record in budgets.records_in(evidence):
        if (record.name, record.severity) == (budgets.MONTH, budgets.CRITICAL):
            first = date.fromisoformat(f"{record.period}-01")
            row = MonthSpend.objects.filter(project=agent.project_id, month=first)
            row.update(level=_waived(Month(first, int(record.limit))))


def look(project_ids: Collection[int], now: datetime) -> None:
    """Have all agents of these projects reviewed. Holds few hot rows at a time, and none while it waits for one."""
    if not project_ids:
        return
    states = AgentState.objects.filter(agent__project__in=list(project_ids), agent__paused_at__isnull=True)
    waiting = states.exclude(check_at__lte=now).order_by("agent_id")
    while _bring_forward(waiting, now):
        pass
    # Those that were locked: a review that holds one may not have seen how the budget stands now.
    for agent_id in list(waiting.values_list("agent_id", flat=True)):
        AgentState.objects.filter(agent_id=agent_id).exclude(check_at__lte=now).update(check_at=now)


@transaction.atomic
def _bring_forward(states: QuerySet[AgentState], now: datetime) -> bool:
    """Have some of these reviewed that nobody has locked. Returns whether there may be more."""
    free = states.select_for_update(of=("self",), skip_locked=True)[:LOOK_CHUNK]
    ids = list(free.values_list("agent_id", flat=True))
    AgentState.objects.filter(agent_id__in=ids).update(check_at=now)
    return len(ids) == LOOK_CHUNK


def keep(agent: Agent) -> None:
    """Move the month's spend of an agent about to be deleted to its project. Its hot row is locked."""
    state = AgentState.objects.get(agent=agent)
    if state.month is None:
        return
    row = {"project_id": agent.project_id, "month": state.month}
    MonthSpend.objects.bulk_create([MonthSpend(**row)], ignore_conflicts=True)
    more: dict[str, Any] = {name: F(name) + getattr(state, f"{name}_month") for name in SUMS}
    MonthSpend.objects.filter(**row).update(**more)
    # If this agent warned about the month, another one must.
    MonthSpend.objects.filter(**row, level__startswith="near ", level__endswith=f" {agent.pk}").update(level="")
