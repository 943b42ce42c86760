"""Maintenance windows: while one is open, the agents it is for are paused, and nobody is told of them.

A window is opened and closed by the detector's own beat, so it begins and ends within seconds of its times. When it
closes, its agents are judged as if they had reported at that moment. Who resumes one earlier has it back at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import Q, QuerySet

from agents.models import Agent, AgentName, AgentState, Maintenance
from teams.actors import WATCHDOG
from teams.errors import ApiError
from teams.models import Project
from teams.services import audit

LONGEST: Final = timedelta(days=30)
AHEAD: Final = timedelta(days=366)


@transaction.atomic
def plan(
    *,
    project: Project,
    reason: str,
    starts_at: datetime,
    ends_at: datetime,
    labels: Mapping[str, str],
    actor: str,
    now: datetime,
    agents: Iterable[str] = (),
) -> Maintenance:
    """A window for the project's agents: all, those with all of these labels, those of these names or aliases.

    Raises ApiError 422 with the field for a window that ends before it begins or is over, is longer than 30 days, or
    begins in more than a year, and for a name that no agent of the project has.
    """
    wrong = problem(starts_at, ends_at, now)
    if wrong is not None:
        raise ApiError(422, "invalid", f"{wrong[0]}: {wrong[1]}", fields={wrong[0]: wrong[1]})
    times = {"starts_at": starts_at, "ends_at": ends_at}
    whom = {"labels": dict(labels), "agent_names": _own_names(project, agents)}
    window = Maintenance.objects.create(
        project=project, reason=reason, created_by=actor, created_at=now, **whom, **times
    )
    audit(
        team=project.team, actor=actor, action="maintenance.planned", target=str(window), of=window, data=_said(window)
    )
    return window


def problem(starts_at: datetime, ends_at: datetime, now: datetime) -> tuple[str, str] | None:
    """The field that is wrong, and why; None: nothing is."""
    if ends_at <= starts_at:
        return "ends_at", "must be after the start"
    if ends_at <= now:
        return "ends_at", "is over already"
    if ends_at - starts_at > LONGEST:
        return "ends_at", "a window may last 30 days at most; to leave agents alone for longer, pause them"
    return ("starts_at", "is more than a year ahead") if starts_at - now > AHEAD else None


@transaction.atomic
def plan_for(
    *, agents: Iterable[Agent], reason: str, starts_at: datetime, ends_at: datetime, actor: str, now: datetime
) -> list[Maintenance]:
    """A window for exactly these agents: one in each of their projects, or none at all. Raises as `plan` does."""
    chosen: dict[Project, list[str]] = {}
    for agent in agents:
        chosen.setdefault(agent.project, []).append(agent.name)
    times = {"starts_at": starts_at, "ends_at": ends_at}
    return [
        plan(project=project, reason=reason, labels={}, agents=names, actor=actor, now=now, **times)
        for project, names in chosen.items()
    ]


def _own_names(project: Project, asked: Iterable[str]) -> list[str]:
    """Each agent's own name once, for its names and aliases."""
    wanted = set(asked)
    known = dict(AgentName.objects.filter(project=project, name__in=wanted).values_list("name", "agent__name"))
    unknown = sorted(wanted - known.keys())
    if unknown:
        why = f"{project} has no agent “{unknown[0]}”"
        raise ApiError(422, "invalid", f"agents: {why}", fields={"agents": why})
    return sorted(set(known.values()))


@transaction.atomic
def end(*, window: Maintenance, actor: str, now: datetime) -> Maintenance:
    """End it now, or call it off before it begins. One that is over stays as it is."""
    window = Maintenance.objects.select_for_update().get(pk=window.pk)
    if window.closed_at is None:
        window.ends_at = min(window.ends_at, now)
        _close(window, now)
        audit(team=window.project.team, actor=actor, action="maintenance.ended", target=str(window), of=window)
    return window


def turn(now: datetime) -> None:
    """Open and close what is due; safe with any number of workers."""
    due = Q(opened_at=None, starts_at__lte=now) | Q(ends_at__lte=now)
    for pk in Maintenance.objects.filter(due, closed_at=None).values_list("pk", flat=True):
        with transaction.atomic():
            window = Maintenance.objects.select_for_update(skip_locked=True).filter(pk=pk, closed_at=None).first()
            if window is not None:
                _close(window, now) if window.ends_at <= now else _open(window, now)


def _open(window: Maintenance, now: datetime) -> None:
    _take(window, _agents_of(window), now)
    window.opened_at = now
    window.save(update_fields=["opened_at"])
    audit(team=window.project.team, actor=WATCHDOG, action="maintenance.began", target=str(window), of=window)


def _close(window: Maintenance, now: datetime) -> None:
    let_go = list(Agent.objects.filter(maintenance=window).values_list("pk", flat=True))
    agents = Agent.objects.filter(pk__in=let_go)
    _look_again(let_go, now)
    agents.update(paused_at=None, resumed_at=now, maintenance=None)
    window.closed_at = now
    window.save(update_fields=["ends_at", "closed_at"])
    for other in window.project.maintenances.exclude(pk=window.pk).filter(opened_at__isnull=False, closed_at=None):
        _take(other, [pk for pk in _agents_of(other) if pk in let_go], now)


def _take(window: Maintenance, agent_ids: list[int], now: datetime) -> None:
    """Pause those of them that nobody has paused."""
    _look_again(agent_ids, now)
    Agent.objects.filter(pk__in=agent_ids, paused_at=None).update(paused_at=now, maintenance=window)


def _agents_of(window: Maintenance) -> list[int]:
    wanted, agents = window.labels.items(), Agent.objects.filter(project=window.project_id)
    if window.agent_names:
        named = AgentName.objects.filter(project=window.project_id, name__in=window.agent_names)
        agents = agents.filter(pk__in=named.values("agent"))
    return [pk for pk, labels in agents.values_list("pk", "labels") if wanted <= labels.items()]


def _look_again(agent_ids: list[int], now: datetime) -> None:
    """Hot rows first, in their order, as everywhere."""
    states = AgentState.objects.select_for_update().filter(agent__in=agent_ids).order_by("agent_id")
    list(states.values_list("pk"))
    AgentState.objects.filter(agent__in=agent_ids).update(check_at=now)


def upcoming(windows: QuerySet[Maintenance], now: datetime) -> QuerySet[Maintenance]:
    """Those that are open or still to come, the next first."""
    return windows.filter(closed_at=None, ends_at__gt=now).order_by("starts_at", "pk")


def _said(window: Maintenance) -> dict[str, object]:
    times = {"starts_at": window.starts_at.isoformat(), "ends_at": window.ends_at.isoformat()}
    return {**times, "labels": window.labels, "agents": window.agent_names, "reason": window.reason}
