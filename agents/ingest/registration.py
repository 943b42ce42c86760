"""Creates agents for names that report for the first time, within the plan's agent limit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import datetime
from typing import Any, Final, NamedTuple

from django.db import OperationalError, connection, transaction
from django.utils.text import slugify

from agents import rules
from agents.domain import budgets
from agents.domain.heartbeat import MAX_NAME_LENGTH, Beat
from agents.domain.hot_row import Later
from agents.ingest import bindings
from agents.models import Agent, AgentMemory, AgentName, AgentState, Job
from agents.rules import cost
from billing import limits, refusals
from teams import rate_limits
from teams.auth import Caller
from teams.errors import ApiError
from teams.models import Project, Team
from teams.rate_limits import RateLimit

Newcomer = tuple[Caller, Beat]
# How long a registration waits for rows that others have locked, before it lets other teams' agents go first.
LOCK_TIMEOUT: Final = "1s"
LOCK_NOT_AVAILABLE: Final = "55P03"


def register(newcomers: Sequence[Newcomer], now: datetime) -> list[ApiError | None]:
    """Create an agent for each of these heartbeats; call it in a transaction. Returns the refusals, in order.

    403 `unknown_agent` in strict mode, 403 `agent_limit_reached` over the plan's limit, 403 `unknown_project` when the
    project was deleted, 429 `rate_limited` when the key created too many agents within the hour.
    """
    refused: dict[int, ApiError | None] = {}
    for team_id, members in _by_team(newcomers).items():
        refused |= _register_team(team_id, {index: newcomers[index] for index in members}, now)
    return [refused[index] for index in range(len(newcomers))]


def register_apart(newcomers: Sequence[Newcomer], now: datetime) -> list[ApiError | Later | None]:
    """As `register`, in a transaction per team. LOCKED: others hold rows of that team; try again later."""
    results: dict[int, ApiError | Later | None] = {}
    for team_id, members in _by_team(newcomers).items():
        try:
            with transaction.atomic():
                _limit_waiting()
                results |= _register_team(team_id, {index: newcomers[index] for index in members}, now)
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", "") != LOCK_NOT_AVAILABLE:
                raise
            results |= dict.fromkeys(members, Later.LOCKED)
    return [results[index] for index in range(len(newcomers))]


def _by_team(newcomers: Sequence[Newcomer]) -> dict[int, list[int]]:
    by_team: dict[int, list[int]] = {}
    for index, (caller, _) in enumerate(newcomers):
        by_team.setdefault(caller.team_id, []).append(index)
    return by_team


def _limit_waiting() -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", [LOCK_TIMEOUT])


def _register_team(team_id: int, newcomers: Mapping[int, Newcomer], now: datetime) -> dict[int, ApiError | None]:
    # Locking the team's row queues new agents: two first heartbeats at once must not both pass the limit.
    team = Team.objects.select_for_update(of=("self",), no_key=True).filter(pk=team_id).first()
    ids = {caller.project_id for caller, _ in newcomers.values()} if team else set()
    projects = Project.objects.in_bulk(ids)
    known = _known(newcomers.values())
    bindings.bind(_first_reporters(newcomers.values(), known), now)
    wanted = [
        newcomer
        for newcomer in newcomers.values()
        if newcomer[0].project_id in projects and not newcomer[0].strict and _name_of(newcomer) not in known
    ]
    created, too_fast = _create_within_limits(team_id, projects, wanted, now) if wanted else (set(), set())
    return {
        index: rate_limits.refusal(_new_agents(newcomer[0]), now)
        if _name_of(newcomer) in too_fast
        else _refusal(newcomer[0], newcomer[1].agent, projects, known | created, now)
        for index, newcomer in newcomers.items()
    }


def _name_of(newcomer: Newcomer) -> bindings.Name:
    return newcomer[0].project_id, newcomer[1].agent


def _first_reporters(newcomers: Iterable[Newcomer], known: Set[bindings.Name]) -> dict[bindings.Name, Caller]:
    """Per name that there is, the first of these keys that reported under it."""
    first: dict[bindings.Name, Caller] = {}
    for newcomer in newcomers:
        if _name_of(newcomer) in known:
            first.setdefault(_name_of(newcomer), newcomer[0])
    return first


def _known(newcomers: Iterable[Newcomer]) -> set[tuple[int, str]]:
    wanted = {(caller.project_id, beat.agent) for caller, beat in newcomers}
    names = AgentName.objects.filter(project__in={pk for pk, _ in wanted}, name__in={name for _, name in wanted})
    return wanted & set(names.values_list("project_id", "name"))


def _create_within_limits(
    team_id: int, projects: Mapping[int, Project], wanted: Sequence[Newcomer], now: datetime
) -> tuple[set[bindings.Name], set[bindings.Name]]:
    """Create agents in order of arrival as far as the plan and the keys' rates allow.

    Returns the names that were created, and those whose key has created too many within the hour.
    """
    first: dict[bindings.Name, Newcomer] = {}
    for newcomer in wanted:
        first.setdefault(_name_of(newcomer), newcomer)
    in_plan = list(first.values())[: limits.room(team_id, "agents")]
    allowed = _within_rate(in_plan, now)
    create_agents([_new_agent(projects, newcomer) for newcomer in allowed], now)
    created = {_name_of(newcomer) for newcomer in allowed}
    return created, {_name_of(newcomer) for newcomer in in_plan} - created


def _within_rate(newcomers: Sequence[Newcomer], now: datetime) -> list[Newcomer]:
    """As many per key, in order, as it may still create within the hour."""
    by_key: dict[int, list[Newcomer]] = {}
    for newcomer in newcomers:
        by_key.setdefault(newcomer[0].line, []).append(newcomer)
    allowed: list[Newcomer] = []
    for line, members in by_key.items():
        allowed += members[: rate_limits.take(_new_agents(members[0][0]), line, now, len(members))]
    return allowed


def _new_agents(caller: Caller) -> RateLimit:
    what = "new agents from this API key"
    return RateLimit("new_agents", caller.new_agents_per_hour, rate_limits.HOUR, what)


def _new_agent(projects: Mapping[int, Project], newcomer: Newcomer) -> NewAgent:
    caller, beat = newcomer
    kind = Agent.Kind.JOB if beat.job else Agent.Kind.AGENT
    return NewAgent(projects[caller.project_id], beat.agent, beat.agent_type or "", kind, bindings.owner_of(caller))


def _refusal(
    caller: Caller, name: str, projects: Mapping[int, Project], known: Set[tuple[int, str]], now: datetime
) -> ApiError | None:
    if (caller.project_id, name) in known:
        return None
    if caller.strict:
        message = f"The project is in strict mode and has no agent “{name}”. Create it or turn off strict mode."
        return ApiError(403, "unknown_agent", message)
    if caller.project_id not in projects:
        return ApiError(403, "unknown_project", "The project of this key has been deleted.")
    refusals.record(team_id=caller.team_id, project_id=caller.project_id, name=name, now=now)
    return limits.refusal(caller.team_id, "agents")


def turn_away(caller: Caller, name: str, now: datetime) -> ApiError:
    """Record that an agent over the plan's limit reported; returns the refusal."""
    refusals.record(team_id=caller.team_id, project_id=caller.project_id, name=name, now=now)
    return over_limit(caller.team_id)


def over_limit(team_id: int) -> ApiError:
    """The refusal for an agent that has been over the limit since a downgrade."""
    plan = limits.plan_of(team_id)
    message = f"The {plan.label} plan monitors {plan.agents} agents, the oldest first. Delete one of those"
    return ApiError(403, "agent_limit_reached", f"{message} or upgrade the plan: {limits.usage_url()}")


class NewAgent(NamedTuple):
    project: Project
    name: str
    agent_type: str = ""
    kind: str = Agent.Kind.AGENT
    # `AgentName.bound_to`
    owner: int | None = None


def create_agent(*, project: Project, name: str, now: datetime, kind: str = Agent.Kind.AGENT) -> Agent:
    """Create an agent with its name and hot row. Raises IntegrityError when the name is taken."""
    (agent,) = create_agents([NewAgent(project, name, kind=kind)], now)
    return agent


def create_agents(new: Sequence[NewAgent], now: datetime) -> list[Agent]:
    """As `create_agent` for several, in five statements at most."""
    agents = Agent.objects.bulk_create(
        Agent(
            project_id=each.project.pk,
            name=each.name,
            agent_type=each.agent_type,
            kind=each.kind,
            created_at=now,
        )
        for each in new
    )
    AgentName.objects.bulk_create(
        AgentName(project_id=agent.project_id, name=agent.name, agent=agent, bound_to=each.owner)
        for agent, each in zip(agents, new, strict=True)
    )
    AgentState.objects.bulk_create(
        AgentState(agent=agent, lifted=_waived(each.project)) for agent, each in zip(agents, new, strict=True)
    )
    AgentMemory.objects.bulk_create(AgentMemory(agent=agent) for agent in agents)
    jobs = [agent for agent in agents if agent.kind == Agent.Kind.JOB]
    if jobs:
        Job.objects.bulk_create(Job(agent=agent, slug=slug_of(agent.name), scheduled_at=now) for agent in jobs)
    return agents


def slug_of(name: str) -> str:
    """Its name in ping addresses: lowercase letters, digits, hyphens and underscores."""
    return slugify(name)[:MAX_NAME_LENGTH]


def _waived(project: Project) -> dict[str, Any] | None:
    # The first heartbeats are answered before any review could tell them that the budget rule is off.
    return None if rules.in_force(cost, project.rules).on else budgets.ALL_WAIVED
