"""What people do to agents: create, change, pause, resume, delete. Each write is audited in its own transaction and
brings the agent's next review forward.

`actor` is a person's e-mail, `key:PREFIX` or `watchdog`. The text of an ApiError is meant for that person.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from agents.fleet import jobs, quota
from agents.incidents import actions
from agents.ingest.registration import create_agent, over_limit
from agents.models import Agent, AgentMemory, AgentName, AgentState
from agents.storage import monthly_spend
from billing import limits, refusals
from teams.errors import ApiError
from teams.models import Project
from teams.services import audit, create_deleted_project

SETTABLE: Final = (
    "description",
    "owner",
    "runbook_url",
    "interval",
    "grace",
    "progress_timeout",
    "daily_budget_usd",
    "run_budget_usd",
    "daily_token_limit",
    "labels",
    "kind",
    "restart_policy",
    "restart_type",
    "restart_target",
    "unsafe_to_repeat",
    "rules",
)
# The columns of an agent that is monitored again.
NOT_PAUSED: Final[dict[str, Any]] = {"paused_at": None, "paused_by": "", "paused_until": None, "maintenance": None}


@transaction.atomic
def add_agent(*, project: Project, name: str, kind: str, actor: str, now: datetime) -> Agent:
    """Create an agent before its first heartbeat, as strict mode requires. The name is valid.

    Raises ApiError 403 `agent_limit_reached` at the plan's agent limit, 409 `name_taken`.
    """
    limits.require_room(team_id=project.team_id, what="agents")
    if AgentName.objects.filter(project=project, name=name).exists():
        message = f"An agent in this project already reports as “{name}”."
        raise ApiError(409, "name_taken", message, fields={"name": message})
    agent = create_agent(project=project, name=name, now=now, kind=kind)
    _note(agent, "agent.created", actor)
    return agent


@transaction.atomic
def change_agent(*, agent: Agent, changes: Mapping[str, Any], actor: str, now: datetime) -> Agent:
    """Change settings of an agent: any of `SETTABLE`, and `aliases`, the full list of other names. Values are valid.

    Raises ApiError 422 when only one of `restart_type` and `restart_target` would be set, or when the interval is
    below the plan's minimum; 409 `name_taken` when an alias is another agent's name.
    """
    _review_soon(agent, now)
    before = {name: getattr(agent, name) for name in SETTABLE if name in changes}
    changed = {name: changes[name] for name, old in before.items() if changes[name] != old}
    _require_interval_in_plan(agent, changed.get("interval"))
    for name, value in changed.items():
        setattr(agent, name, value)
    _require_complete_target(agent)
    if changed.keys() & {"restart_type", "restart_target"}:
        _pin_target(agent)
    if changed.get("kind") == Agent.Kind.JOB:
        jobs.ensure(agent, now)
    if changed:
        agent.save(update_fields=list(changed))
        data = {name: {"from": _plain(before[name]), "to": _plain(value)} for name, value in changed.items()}
        _note(agent, "agent.changed", actor, data)
    if "aliases" in changes:
        _set_aliases(agent, changes["aliases"], actor)
    return agent


@transaction.atomic
def release_names(*, agent: Agent, actor: str, now: datetime) -> None:
    """Let the next API key that reports under one of the agent's names own it. A no-op if no key owns any."""
    released = AgentName.objects.filter(agent=agent, bound_to__isnull=False).update(bound_to=None)
    if released:
        _note(agent, "agent.released", actor)


def has_bound_names(agent: Agent) -> bool:
    """Whether an API key owns one of the agent's names."""
    return AgentName.objects.filter(agent=agent, bound_to__isnull=False).exists()


@transaction.atomic
def change_project_rules(*, project: Project, given: Mapping[str, Any], actor: str, now: datetime) -> None:
    """Set the rules that the project's agents inherit, and have all of them reviewed. `given` is valid."""
    stored = Project.objects.get(pk=project.pk)
    if stored.rules == given:
        return
    AgentState.objects.filter(agent__project=project, agent__paused_at__isnull=True).update(check_at=now)
    Project.objects.filter(pk=project.pk).update(rules=given)
    data = {"rules": {"from": stored.rules, "to": given}}
    audit(team=project.team, actor=actor, action="project.changed", target=project.name, of=project, data=data)
    project.rules = dict(given)


def _require_interval_in_plan(agent: Agent, interval: float | None) -> None:
    why = limits.too_short(agent.project.team_id, interval) if interval is not None else ""
    if why:
        raise ApiError(422, "invalid", f"interval: {why}", fields={"interval": why})


def _require_complete_target(agent: Agent) -> None:
    if bool(agent.restart_type) != bool(agent.restart_target):
        missing = "restart_target" if agent.restart_type else "restart_type"
        why = "set restart_type and restart_target together, or neither"
        raise ApiError(422, "invalid", f"{missing}: {why}", fields={missing: why})


def _pin_target(agent: Agent) -> None:
    """A person's target replaces the reported one; without one, the next report counts. Any runner may watch it."""
    pinned = {"restart_type": agent.restart_type, "restart_target": agent.restart_target}
    AgentState.objects.filter(agent=agent).update(**pinned, runner_at=None)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Decimal) else value


def aliases_of(agent: Agent) -> list[str]:
    """The agent's other names, oldest first. Reads `names`: prefetch them for a list."""
    return [row.name for row in agent.names.all() if row.name != agent.name]


def _set_aliases(agent: Agent, wanted: Iterable[str], actor: str) -> None:
    before = set(AgentName.objects.filter(agent=agent).exclude(name=agent.name).values_list("name", flat=True))
    after = set(wanted) - {agent.name}
    for name in sorted(after - before):
        _add_name(agent, name)
    gone = before - after
    AgentName.objects.filter(agent=agent, name__in=gone).delete()
    if after != before:
        _note(agent, "agent.aliases_changed", actor, {"aliases": {"from": sorted(before), "to": sorted(after)}})


def _add_name(agent: Agent, name: str) -> None:
    try:
        with transaction.atomic():
            AgentName.objects.create(project_id=agent.project_id, name=name, agent=agent)
    except IntegrityError:
        raise _name_taken(agent, name) from None


def _name_taken(agent: Agent, name: str) -> ApiError:
    owner = Agent.objects.filter(names__project=agent.project_id, names__name=name).first() or agent
    if owner.name == name:
        message = (
            f"“{name}” is an agent with its own history. Delete the agent {name} first, then add its name as an alias."
        )
    else:
        message = f"“{name}” is an alias of the agent {owner.name}. Remove it there first."
    return ApiError(409, "name_taken", message, fields={"aliases": message})


@transaction.atomic
def pause(*, agent: Agent, actor: str, now: datetime, until: datetime | None = None) -> Agent:
    """Pause monitoring until that time, else until it is resumed; heartbeats are still stored.

    Does nothing when it is paused. Raises ApiError 422 when `until` has passed.
    """
    if until is not None and until <= now:
        raise ApiError(422, "invalid", "until: must be in the future", fields={"until": "must be in the future"})
    _review_soon(agent, now)
    paused = {"paused_at": now, "paused_by": actor, "paused_until": until}
    if Agent.objects.filter(pk=agent.pk, paused_at__isnull=True).update(**paused):
        agent.paused_at, agent.paused_by, agent.paused_until = now, actor, until
        _note(agent, "agent.paused", actor, {"until": until.isoformat()} if until else None)
    return agent


@transaction.atomic
def resume(*, agent: Agent, actor: str, now: datetime) -> Agent:
    """Resume monitoring, as if the agent had reported at `now`. Does nothing when it is not paused.

    Raises ApiError 403 `agent_limit_reached` when it is over the plan's agent limit.
    """
    _review_soon(agent, now)
    agent.refresh_from_db(fields=["over_plan_at"])
    if agent.over_plan_at:
        raise over_limit(agent.project.team_id)
    if Agent.objects.filter(pk=agent.pk, paused_at__isnull=False).update(**NOT_PAUSED, resumed_at=now):
        agent.paused_at, agent.paused_by, agent.paused_until, agent.resumed_at = None, "", None, now
        _note(agent, "agent.resumed", actor)
    return agent


@transaction.atomic
def delete_agent(*, agent: Agent, actor: str, now: datetime) -> None:
    """Delete the agent with its names, history and incidents. Its next heartbeat would create a new agent.

    There may be millions of heartbeats, so they only lose their agent here, and `purge.py` deletes them in small steps.
    Raises ApiError 404 `not_found` when somebody else deleted it at the same moment.
    """
    team_id = agent.project.team_id
    others_are_waiting = quota.has_agents_over_limit(team_id)
    if others_are_waiting:
        quota.lock_team(team_id)
    # First, because it locks the hot row: otherwise a heartbeat could arrive meanwhile and be left behind.
    actions.leave_shared(agent=agent, actor=actor, now=now)
    if not AgentState.objects.filter(agent=agent).exists():
        raise ApiError(404, "not_found", f"The agent {agent} was already deleted.")
    monthly_spend.keep(agent)
    _note(agent, "agent.deleted", actor, {"id": agent.pk})
    _detach(agent, now)
    refusals.forget(team_id)
    if others_are_waiting:
        quota.settle(team_id, now)


def _detach(agent: Agent, now: datetime) -> None:
    """Delete at once what anybody could still see, and move the rest to a project that nobody can open."""
    visible: tuple[QuerySet[Any], ...] = (
        agent.signals.all(),
        agent.incidents.all(),
        agent.commands.all(),
        agent.names.all(),
        AgentMemory.objects.filter(agent=agent),
        AgentState.objects.filter(agent=agent),
    )
    for rows in visible:
        rows.delete()
    hidden = create_deleted_project(like=agent.project, now=now)
    Agent.objects.filter(pk=agent.pk).update(project=hidden, maintenance=None, over_plan_at=None)


def _note(agent: Agent, action: str, actor: str, data: dict[str, Any] | None = None) -> None:
    audit(team=agent.project.team, actor=actor, action=action, target=agent.name, of=agent, data=data)


def _review_soon(agent: Agent, now: datetime) -> None:
    """Have the agent reviewed. Call it first in a transaction: hot rows are locked before all others."""
    AgentState.objects.filter(agent=agent).update(check_at=now)
