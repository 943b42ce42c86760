"""Jobs: the agents that run on a schedule. Finds them by the addresses of pings, creates them, sets their schedule."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet

from agents.domain.jobs import schedules
from agents.domain.wire.names import agent_name
from agents.ingest.registration import create_agent, slug_of
from agents.models import Agent, AgentState, Job
from billing import limits, refusals
from teams import rate_limits
from teams.errors import ApiError
from teams.models import NEW_AGENTS_PER_HOUR, Project
from teams.rate_limits import RateLimit
from teams.services import audit

SETTABLE: Final = ("slug", "schedule", "period", "expression", "time_zone", "grace", "max_duration")
# In the audit log, for what a ping created.
PING_ACTOR: Final = "ping"
# As an API key may create by default: whoever reads the address of a ping in a script must not fill a fleet.
NEW_JOBS: Final = RateLimit("new_jobs", NEW_AGENTS_PER_HOUR, rate_limits.HOUR, "new jobs from this ping key")


def by_ping_id(ping_id: UUID) -> Agent | None:
    return _agents().filter(job__ping_id=ping_id).first()


def by_slug(ping_key: str, slug: str) -> list[Agent]:
    """The agents that a slug may mean: the one with this name or alias, else all with this slug."""
    agents, name = _agents().filter(project__ping_key=ping_key), agent_name(slug)
    named = list(agents.filter(names__name=name))
    return named or list(agents.filter(job__slug=name)[:2])


def _agents() -> QuerySet[Agent]:
    return Agent.objects.select_related("project__team").filter(project__team__ended_at=None)


def project_by_key(ping_key: str) -> Project | None:
    return Project.objects.select_related("team").filter(ping_key=ping_key, team__ended_at=None).first()


def create_for_ping(*, project: Project, name: str, now: datetime) -> Agent:
    """Create a job for a ping with `create=1`, with the default schedule of Healthchecks: a day, and an hour of grace.

    Raises ApiError 403 `agent_limit_reached` at the plan's agent limit, 403 `unknown_agent` in strict mode, 429 for too
    many within an hour.
    """
    if project.strict:
        raise ApiError(403, "unknown_agent", f"The project is in strict mode and has no job “{name}”.")
    rate_limits.spend(NEW_JOBS, project.pk, now)
    created = _create(project, name, now)
    if isinstance(created, ApiError):
        # Outside the transaction that the refusal ends.
        refusals.record(team_id=project.team_id, project_id=project.pk, name=name, now=now)
        raise created
    return created


@transaction.atomic
def _create(project: Project, name: str, now: datetime) -> Agent | ApiError:
    # It locks the team, so two first pings at once create one job.
    refused = limits.refusal(project.team_id, "agents")
    if existing := by_slug(project.ping_key, name):
        return existing[0]
    if refused is not None:
        return refused
    agent = create_agent(project=project, name=name, now=now, kind=Agent.Kind.JOB)
    Job.objects.filter(agent=agent).update(schedule=Job.Schedule.PERIOD, is_default=True, scheduled_at=now)
    audit(team=project.team, actor=PING_ACTOR, action="agent.created", target=name, of=agent)
    return agent


def ensure(agent: Agent, now: datetime) -> Job:
    """The agent's row as a job; created without a schedule if it has none."""
    job, _ = Job.objects.get_or_create(agent=agent, defaults={"slug": slug_of(agent.name), "scheduled_at": now})
    return job


@transaction.atomic
def change_schedule(*, agent: Agent, changes: Mapping[str, Any], actor: str, now: datetime) -> Job:
    """Set any of `SETTABLE`. From now on the job is expected by the new schedule, and its agent is a job.

    Raises ApiError 422 `invalid` for an expression that cannot be read or never matches.
    """
    AgentState.objects.select_for_update(of=("self",)).filter(agent=agent).update(check_at=now)
    job = ensure(agent, now)
    before = {name: getattr(job, name) for name in SETTABLE if name in changes}
    changed = {name: changes[name] for name, old in before.items() if changes[name] != old}
    for name, value in changed.items():
        setattr(job, name, value)
    if wrong := schedules.problem(job.schedule, job.expression, job.time_zone, now):
        raise ApiError(422, "invalid", f"{wrong[0]}: {wrong[1]}", fields={wrong[0]: wrong[1]})
    if changed.keys() - {"slug"} or (job.is_default and "schedule" in changes):
        job.is_default, job.scheduled_at = False, now
    job.save()
    if agent.kind != Agent.Kind.JOB:
        agent.kind = Agent.Kind.JOB
        agent.save(update_fields=["kind"])
    if changed:
        data = {name: {"from": before[name], "to": value} for name, value in changed.items()}
        audit(team=agent.project.team, actor=actor, action="agent.changed", target=agent.name, of=agent, data=data)
    return job


def has_slug(project_id: int, slug: str, other_than: Agent) -> bool:
    """Whether another agent of the project answers to this slug already."""
    return (
        Agent.objects.filter(Q(job__slug=slug) | Q(names__name=slug), project=project_id)
        .exclude(pk=other_than.pk)
        .exists()
    )
