"""Maintenance windows: while one is open, its agents are paused and nobody is notified about them.

The sweep opens and closes windows, so they start and end within seconds of their times. When a window closes, its
agents are reviewed as if they had reported at that moment. An agent that a person resumes earlier is monitored again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import Q

from agents.models import Agent, AgentName, AgentState, Maintenance
from teams import rate_limits
from teams.actors import WATCHDOG
from teams.errors import ApiError
from teams.models import Project
from teams.services import audit

MAX_LENGTH: Final = timedelta(days=30)
MAX_AHEAD: Final = timedelta(days=366)


@transaction.atomic
def schedule(
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
    """Schedule a window for agents of a project: all, those with all of these labels, or those with these names.

    `agents` are names or aliases. Raises ApiError 422 with the field when the times are wrong, see `time_error`, and
    for a name that no agent of the project has; 429 for too many in a day.
    """
    error = time_error(starts_at, ends_at, now)
    if error is not None:
        raise _invalid(*error)
    rate_limits.spend(rate_limits.MAINTENANCE, project.pk, now)
    window = Maintenance.objects.create(
        project=project,
        reason=reason,
        starts_at=starts_at,
        ends_at=ends_at,
        labels=dict(labels),
        agent_names=_own_names(project, agents),
        created_by=actor,
        created_at=now,
    )
    data = _as_data(window)
    audit(team=project.team, actor=actor, action="maintenance.planned", target=str(window), of=window, data=data)
    return window


def time_error(starts_at: datetime, ends_at: datetime, now: datetime) -> tuple[str, str] | None:
    """The field that is wrong, and why. None: the times are fine."""
    if ends_at <= starts_at:
        return "ends_at", "must be after the start"
    if ends_at <= now:
        return "ends_at", "must be in the future"
    if ends_at - starts_at > MAX_LENGTH:
        return "ends_at", "must be at most 30 days after the start; for longer, pause the agents instead"
    return ("starts_at", "must be within a year") if starts_at - now > MAX_AHEAD else None


def _invalid(field: str, why: str) -> ApiError:
    return ApiError(422, "invalid", f"{field}: {why}", fields={field: why})


@transaction.atomic
def schedule_for(
    *, agents: Iterable[Agent], reason: str, starts_at: datetime, ends_at: datetime, actor: str, now: datetime
) -> list[Maintenance]:
    """Schedule a window for exactly these agents, one per project; all of them or none. Raises as `schedule` does."""
    names: dict[Project, list[str]] = {}
    for agent in agents:
        names.setdefault(agent.project, []).append(agent.name)
    return [
        schedule(
            project=project,
            reason=reason,
            starts_at=starts_at,
            ends_at=ends_at,
            labels={},
            actor=actor,
            now=now,
            agents=of_project,
        )
        for project, of_project in names.items()
    ]


def _own_names(project: Project, names: Iterable[str]) -> list[str]:
    """The agents' main names, once each, for names and aliases."""
    wanted = set(names)
    known = dict(AgentName.objects.filter(project=project, name__in=wanted).values_list("name", "agent__name"))
    unknown = sorted(wanted - known.keys())
    if unknown:
        raise _invalid("agents", f"{project} has no agent “{unknown[0]}”")
    return sorted(set(known.values()))


@transaction.atomic
def end(*, window: Maintenance, actor: str, now: datetime) -> Maintenance:
    """End the window now, or cancel it before it starts. Does nothing when it is over."""
    window = Maintenance.objects.select_for_update().get(pk=window.pk)
    if window.closed_at is None:
        window.ends_at = min(window.ends_at, now)
        _close(window, now)
        audit(team=window.project.team, actor=actor, action="maintenance.ended", target=str(window), of=window)
    return window


def apply_schedule(now: datetime) -> None:
    """Open and close the windows that are due; safe with any number of workers."""
    due = Q(opened_at=None, starts_at__lte=now) | Q(ends_at__lte=now)
    for pk in Maintenance.objects.filter(due, closed_at=None).values_list("pk", flat=True):
        with transaction.atomic():
            window = Maintenance.objects.select_for_update(skip_locked=True).filter(pk=pk, closed_at=None).first()
            if window is not None:
                _close(window, now) if window.ends_at <= now else _open(window, now)


def _open(window: Maintenance, now: datetime) -> None:
    _pause(window, _agents_of(window), now)
    window.opened_at = now
    window.save(update_fields=["opened_at"])
    audit(team=window.project.team, actor=WATCHDOG, action="maintenance.began", target=str(window), of=window)


def _close(window: Maintenance, now: datetime) -> None:
    released = list(Agent.objects.filter(maintenance=window).values_list("pk", flat=True))
    _review_at(now, released)
    Agent.objects.filter(pk__in=released).update(paused_at=None, resumed_at=now, maintenance=None)
    window.closed_at = now
    window.save(update_fields=["ends_at", "closed_at"])
    # An agent in two windows stays paused until the second one closes.
    for other in window.project.maintenances.exclude(pk=window.pk).filter(opened_at__isnull=False, closed_at=None):
        _pause(other, [pk for pk in _agents_of(other) if pk in released], now)


def join_open(agent: Agent, now: datetime) -> None:
    """Have an agent whose own pause is over take part in the maintenance that began meanwhile."""
    windows = Maintenance.objects.filter(project=agent.project_id, opened_at__isnull=False, closed_at=None)
    for window in windows:
        if agent.pk in _agents_of(window):
            _pause(window, [agent.pk], now)


def _pause(window: Maintenance, agent_ids: list[int], now: datetime) -> None:
    """Pause those agents that are not paused already."""
    _review_at(now, agent_ids)
    Agent.objects.filter(pk__in=agent_ids, paused_at=None).update(paused_at=now, maintenance=window)


def _agents_of(window: Maintenance) -> list[int]:
    wanted, agents = window.labels.items(), Agent.objects.filter(project=window.project_id)
    if window.agent_names:
        named = AgentName.objects.filter(project=window.project_id, name__in=window.agent_names)
        agents = agents.filter(pk__in=named.values("agent"))
    return [pk for pk, labels in agents.values_list("pk", "labels") if wanted <= labels.items()]


def _review_at(now: datetime, agent_ids: list[int]) -> None:
    """Have the agents reviewed. Locks their hot rows first and in order, as everybody does, so nothing deadlocks."""
    states = AgentState.objects.select_for_update().filter(agent__in=agent_ids).order_by("agent_id")
    list(states.values_list("pk"))
    AgentState.objects.filter(agent__in=agent_ids).update(check_at=now)


def _as_data(window: Maintenance) -> dict[str, object]:
    times = {"starts_at": window.starts_at.isoformat(), "ends_at": window.ends_at.isoformat()}
    return {**times, "labels": window.labels, "agents": window.agent_names, "reason": window.reason}
