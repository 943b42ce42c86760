"""What people do to agents. Each write is audited in its own transaction and makes the review look again soon.

`actor` is text: a person's e-mail, `key:PREFIX` or `watchdog`. Refusals are ApiErrors meant for the person who asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from agents.fleet import quota
from agents.incidents import actions
from agents.ingest.registration import create_agent, without_place
from agents.models import Agent, AgentMemory, AgentName, AgentState
from agents.storage import monthly_spend
from billing import limits
from teams.errors import ApiError
from teams.models import Project
from teams.services import audit, create_deleted_project

SETTABLE: Final = (
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


@transaction.atomic
def add_agent(*, project: Project, name: str, kind: str, actor: str, now: datetime) -> Agent:
    """An agent made by hand, before its first heartbeat: what strict mode asks for. The name is valid.

    Raises ApiError 403 `agent_limit_reached` when the team's plan has no room for it, 409 `name_taken`.
    """
    limits.require_room(team_id=project.team_id, what="agents")
    if AgentName.objects.filter(project=project, name=name).exists():
        message = f"An agent of this project already reports as “{name}”."
        raise ApiError(409, "name_taken", message, fields={"name": message})
    agent = create_agent(project=project, name=name, now=now)
    Agent.objects.filter(pk=agent.pk).update(kind=kind)
    _note(agent, "agent.created", actor)
    return agent


@transaction.atomic
def change_agent(*, agent: Agent, changes: Mapping[str, Any], actor: str, now: datetime) -> Agent:
    """Set what a person may set: names of `SETTABLE`, and `aliases`, the whole list of other names. Values are valid.

    Raises ApiError 422 when only one of `restart_type` and `restart_target` would be set or the interval is shorter
    than the plan's shortest, 409 `name_taken` when an alias is another agent's name.
    """
    _look_again(agent, now)
    before = {name: getattr(agent, name) for name in SETTABLE if name in changes}
    changed = {name: changes[name] for name, old in before.items() if changes[name] != old}
    _require_interval(agent, changed.get("interval"))
    for name, value in changed.items():
        setattr(agent, name, value)
    _require_whole_target(agent)
    if changed:
        agent.save(update_fields=list(changed))
        data = {name: {"from": _plain(before[name]), "to": _plain(value)} for name, value in changed.items()}
        _note(agent, "agent.changed", actor, data)
    if "aliases" in changes:
        _set_aliases(agent, changes["aliases"], actor)
    return agent


@transaction.atomic
def change_project_rules(*, project: Project, given: Mapping[str, Any], actor: str, now: datetime) -> None:
    """Set what the project's agents inherit: `rules` as an agent has them, valid. All of them are looked at again."""
    stored = Project.objects.get(pk=project.pk)
    if stored.rules == given:
        return
    AgentState.objects.filter(agent__project=project, agent__paused_at__isnull=True).update(check_at=now)
    Project.objects.filter(pk=project.pk).update(rules=given)
    data = {"rules": {"from": stored.rules, "to": given}}
    audit(team=project.team, actor=actor, action="project.changed", target=project.name, of=project, data=data)
    project.rules = dict(given)


def _require_interval(agent: Agent, interval: float | None) -> None:
    why = limits.too_short(agent.project.team_id, interval) if interval is not None else ""
    if why:
        raise ApiError(422, "invalid", f"interval: {why}", fields={"interval": why})


def _require_whole_target(agent: Agent) -> None:
    if bool(agent.restart_type) != bool(agent.restart_target):
        missing = "restart_target" if agent.restart_type else "restart_type"
        why = "set restart_type and restart_target together, or neither"
        raise ApiError(422, "invalid", f"{missing}: {why}", fields={missing: why})


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Decimal) else value


def aliases_of(agent: Agent) -> list[str]:
    """The other names it reports under, oldest first. Reads `names`: fetch them ahead for a list."""
    return [row.name for row in agent.names.all() if row.name != agent.name]


def _set_aliases(agent: Agent, wanted: Iterable[str], actor: str) -> None:
    before = set(AgentName.objects.filter(agent=agent).exclude(name=agent.name).values_list("name", flat=True))
    after = set(wanted) - {agent.name}
    for name in sorted(after - before):
        _add_name(agent, name)
    gone = before - after
    AgentName.objects.filter(agent=agent, name__in=gone).delete()
    if after != before:
        _note(agent, "agent.aliases_changed", actor, {"added": sorted(after - before), "removed": sorted(gone)})


@transaction.atomic
def add_alias(*, agent: Agent, name: str, actor: str, now: datetime) -> AgentName:
    """Let the agent report under one more name. Raises ApiError 409 `name_taken` when another agent has it."""
    alias = _add_name(agent, name)
    _note(agent, "agent.aliases_changed", actor, {"added": [name], "removed": []})
    _look_again(agent, now)
    return alias


def _add_name(agent: Agent, name: str) -> AgentName:
    try:
        with transaction.atomic():
            return AgentName.objects.create(project_id=agent.project_id, name=name, agent=agent)
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
def pause(*, agent: Agent, actor: str, now: datetime) -> Agent:
    """Stop judging the agent until it is resumed; its heartbeats are still kept. Pausing twice changes nothing."""
    _look_again(agent, now)
    if Agent.objects.filter(pk=agent.pk, paused_at__isnull=True).update(paused_at=now):
        agent.paused_at = now
        _note(agent, "agent.paused", actor)
    return agent


@transaction.atomic
def resume(*, agent: Agent, actor: str, now: datetime) -> Agent:
    """Judge the agent again, as if it had reported at `now`. Resuming one that is not paused changes nothing.

    Raises ApiError 403 `agent_limit_reached` for one that the plan has no place for.
    """
    _look_again(agent, now)
    agent.refresh_from_db(fields=["over_plan_at"])
    if agent.over_plan_at:
        raise without_place(agent.project.team_id)
    if Agent.objects.filter(pk=agent.pk, paused_at__isnull=False).update(
        paused_at=None, resumed_at=now, maintenance=None
    ):
        agent.paused_at, agent.resumed_at = None, now
        _note(agent, "agent.resumed", actor)
    return agent


@transaction.atomic
def delete_agent(*, agent: Agent, actor: str, now: datetime) -> None:
    """Remove the agent with its names, history and incidents. Its next heartbeat would make a new one.

    Its heartbeats may be millions: they are nobody's from now on, and `purge.py` deletes them bit by bit.
    Raises ApiError 404 `not_found` when somebody else deleted it at the same moment.
    """
    team_id = agent.project.team_id
    frees_a_place = quota.are_short(team_id)
    if frees_a_place:
        quota.hold(team_id)
    # First, for it locks the hot row: a heartbeat that came in meanwhile would be left over.
    actions.leave(agent=agent, actor=actor, now=now)
    if not AgentState.objects.filter(agent=agent).exists():
        raise ApiError(404, "not_found", f"The agent {agent} is deleted already.")
    monthly_spend.keep(agent)
    _note(agent, "agent.deleted", actor, {"id": agent.pk})
    _set_aside(agent, now)
    if frees_a_place:
        quota.settle(team_id, now)


def _set_aside(agent: Agent, now: datetime) -> None:
    """All that anybody could still meet of it goes at once, the hot row too; the rest moves to where nobody looks."""
    rows: tuple[QuerySet[Any], ...] = (
        agent.signals.all(),
        agent.incidents.all(),
        agent.commands.all(),
        agent.names.all(),
        AgentMemory.objects.filter(agent=agent),
        AgentState.objects.filter(agent=agent),
    )
    for some in rows:
        some.delete()
    place = create_deleted_project(like=agent.project, now=now)
    Agent.objects.filter(pk=agent.pk).update(project=place, maintenance=None, over_plan_at=None)


def _note(agent: Agent, action: str, actor: str, data: dict[str, Any] | None = None) -> None:
    audit(team=agent.project.team, actor=actor, action=action, target=agent.name, of=agent, data=data)


def _look_again(agent: Agent, now: datetime) -> None:
    """Let the review look at what the transaction changes. Call it first: hot rows are locked before all others."""
    AgentState.objects.filter(agent=agent).update(check_at=now)
