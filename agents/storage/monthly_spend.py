"""What the agents of a project spent together in its month, held against its monthly budget.

No running sum is kept, so there is none to get out of step: the agents' own sums, each exact under the lock of its hot
row, are added up whenever one of them reports or is reviewed. A heartbeat is answered by what all others had committed
before it and what it spends itself, without a lock, so nobody gets a second go after the budget is exceeded. Every
heartbeat that spends brings its agent's review about, and the review of the last one sees all before it. The project's
row of the month is locked from the sum to the end of the review, so of two reviews one sees what the other concluded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.db import transaction
from django.db.models import F, Sum

from agents.domain import budgets
from agents.domain.budgets import Limits, Month, Spend
from agents.models import Agent, AgentState, MonthSpend
from agents.storage import statements
from teams.models import Project

MICRO: Final = 1_000_000
SUMS: Final = ("tokens", "cost", "priced", "unpriced")


@dataclass(slots=True)
class Months:
    """Of one review: each agent's month, by agent, and the projects whose other agents must look at it, too."""

    by_agent: dict[int, Month] = field(default_factory=dict)
    crossed: set[int] = field(default_factory=set)


def micros(usd: Decimal) -> int:
    """Dollars, which have six places at most, as whole micro-dollars."""
    return int(usd * MICRO)


def limits(agent: Agent, state: AgentState) -> Limits:
    """An agent's own. The day's is what a person set, else what the client declared."""
    day, run = agent.daily_budget_usd, agent.run_budget_usd
    return Limits(
        state.cost_limit if day is None else micros(day),
        None if run is None else micros(run),
        agent.daily_token_limit,
    )


def first_of(project: Project, now: datetime) -> date:
    """The first day of the month that it is for the project."""
    return now.astimezone(ZoneInfo(project.time_zone)).date().replace(day=1)


def months(states: Iterable[AgentState], now: datetime) -> Months:
    """How the monthly budgets of these agents' projects stand. Call it with the hot rows locked, in a transaction."""
    found = Months()
    by_project: dict[int, list[AgentState]] = {}
    for state in states:
        if state.agent.project.monthly_budget_usd is not None:
            by_project.setdefault(state.agent.project_id, []).append(state)
    rows = _rows({members[0].agent.project for members in by_project.values()}, now) if by_project else {}
    for project_id, members in by_project.items():
        row = rows[project_id]
        month = _month(members[0].agent.project, row)
        if _note(row, month, members):
            found.crossed.add(project_id)
        if row.level == _let_pass(month):
            continue
        for state in members:
            tells = row.level == _near(month, state.agent_id)
            found.by_agent[state.agent_id] = replace(month, tells=tells)
    return found


def committed(firsts: Mapping[int, date]) -> dict[int, Month]:
    """The months of these projects as they stand, by project; `firsts` tells which. One statement, and no lock.

    Left out are projects without a budget of the month, and those that a person let pass theirs.
    """
    found: dict[int, Month] = {}
    for first in set(firsts.values()):
        of_first = [project for project, one in firsts.items() if one == first]
        months = {
            pk: (Month(first, limit, cost), level) for pk, limit, level, cost in statements.months(of_first, first)
        }
        found |= {pk: month for pk, (month, level) in months.items() if level != _let_pass(month)}
    return found


def _rows(projects: Iterable[Project], now: datetime) -> dict[int, MonthSpend]:
    """The projects' rows of this month, locked in one order."""
    wanted = {project.pk: first_of(project, now) for project in projects}
    rows = _locked(wanted)
    missing = [MonthSpend(project_id=pk, month=month) for pk, month in wanted.items() if pk not in rows]
    if missing:
        MonthSpend.objects.bulk_create(missing, ignore_conflicts=True)
        rows = _locked(wanted)
    return rows


def lock(project_ids: Iterable[int]) -> None:
    """Their months, as a review has them: after hot rows, before incidents."""
    rows = MonthSpend.objects.select_for_update().filter(project__in=list(project_ids))
    list(rows.order_by("project_id", "month").values_list("pk"))


def _locked(wanted: Mapping[int, date]) -> dict[int, MonthSpend]:
    rows = MonthSpend.objects.select_for_update().filter(project__in=wanted, month__in=set(wanted.values()))
    return {row.project_id: row for row in rows.order_by("project_id", "month") if row.month == wanted[row.project_id]}


def _month(project: Project, row: MonthSpend) -> Month:
    sums = sums_of(row)
    limit = micros(project.monthly_budget_usd or Decimal(0))
    return Month(row.month, limit, sums["cost"], sums["priced"], sums["unpriced"])


def sums_of(row: MonthSpend) -> dict[str, int]:
    """Of all agents of its project, those that are deleted too."""
    states = AgentState.objects.filter(agent__project=row.project_id, month=row.month)
    found = states.aggregate(**{name: Sum(f"{name}_month") for name in SUMS})
    return {name: getattr(row, name) + (found[name] or 0) for name in SUMS}


def of_month(project: Project, now: datetime) -> Spend:
    """What all agents of the project have spent this month."""
    first = first_of(project, now)
    row = MonthSpend.objects.filter(project=project, month=first).first() or MonthSpend(project=project, month=first)
    sums = sums_of(row)
    return Spend(sums["cost"], sums["priced"], sums["unpriced"])


def _note(row: MonthSpend, month: Month, members: list[AgentState]) -> bool:
    """Keep how the budget stands. Returns whether it was exceeded just now, or is no longer."""
    severity = budgets.of_month(month).severity
    before, level = row.level, ""
    if severity == budgets.CRITICAL:
        level = before if before == _let_pass(month) else _exceeded(month)
    elif severity and before.startswith(_near(month)):
        level = before
    elif severity:
        level = _near(month, max(members, key=lambda state: state.cost_month).agent_id)
    if level != before:
        row.level = level
        row.save(update_fields=["level"])
    return _exceeded(month) == level != before or (before.startswith("exceeded") and not level.startswith("exceeded"))


def _near(month: Month, agent_id: int | None = None) -> str:
    return f"near {month.limit} {'' if agent_id is None else agent_id}"


def _exceeded(month: Month) -> str:
    return f"exceeded {month.limit}"


def _let_pass(month: Month) -> str:
    return f"let pass at {month.limit}"


def let_pass(agent: Agent, evidence: Mapping[str, Any]) -> None:
    """A person ended the incident of a project's exceeded month: it holds nobody any more, nor who comes later."""
    for name, period, limit, severity in evidence.get("budgets", ()):
        if (name, severity) == (budgets.MONTH, budgets.CRITICAL):
            first = date.fromisoformat(f"{period}-01")
            row = MonthSpend.objects.filter(project=agent.project_id, month=first)
            row.update(level=_let_pass(Month(first, limit)))


def look(project_ids: Iterable[int], now: datetime) -> None:
    """Have all agents of these projects reviewed. In a transaction of its own: it locks rows that others may hold."""
    for project_id in sorted(project_ids):
        with transaction.atomic():
            states = AgentState.objects.filter(agent__project=project_id, agent__paused_at__isnull=True)
            ids = list(states.select_for_update(of=("self",)).order_by("agent_id").values_list("agent_id", flat=True))
            AgentState.objects.filter(agent_id__in=ids).exclude(check_at__lte=now).update(check_at=now)


def keep(agent: Agent) -> None:
    """What an agent that is about to be deleted spent stays in its project's month. Its hot row is locked."""
    state = AgentState.objects.get(agent=agent)
    if state.month is None:
        return
    row = {"project_id": agent.project_id, "month": state.month}
    MonthSpend.objects.bulk_create([MonthSpend(**row)], ignore_conflicts=True)
    more: dict[str, Any] = {name: F(name) + getattr(state, f"{name}_month") for name in SUMS}
    MonthSpend.objects.filter(**row).update(**more)
    # If it was the one that warned of the month, another does.
    MonthSpend.objects.filter(**row, level__startswith="near ", level__endswith=f" {agent.pk}").update(level="")
