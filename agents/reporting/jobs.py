"""A job's schedule, its next run and its last ones, for pages and the API. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.urls import reverse

from agents.domain import jobs
from agents.domain.jobs import Due, Run, schedules
from agents.domain.jobs.schedules import Schedule
from agents.models import Agent, Job
from agents.review.case import job_of
from agents.storage import outage_log
from teams.links import on_base_url


@dataclass(frozen=True, slots=True)
class JobStatus:
    """`settings` is None for a job that has no row yet. `runs` are the last ones, the newest first."""

    settings: Job | None
    schedule: Schedule | None
    due: Due | None
    runs: Sequence[Run]
    is_declared: bool

    @property
    def text(self) -> str:
        return schedules.spoken(self.schedule) if self.schedule else ""

    @property
    def is_running(self) -> bool:
        return any(run.is_open for run in self.runs)


def job_status(agent: Agent, now: datetime) -> JobStatus | None:
    """None for an agent that is no job."""
    if agent.kind != Agent.Kind.JOB:
        return None
    own = Job.objects.filter(agent=agent).first()
    job = job_of(agent, agent.memory.rules, outage_log.outages(now), agent.state.last_beat_at) or jobs.Job()
    runs = sorted(job.runs, key=lambda run: run.at, reverse=True)
    is_declared = job.schedule is not None and (own is None or own.as_schedule is None)
    return JobStatus(own, job.schedule, jobs.next_due(job), runs, is_declared)


def ping_urls(agent: Agent, job: Job) -> dict[str, str]:
    """The addresses that a job's pings may go to. Whoever has one can report in the job's name."""
    named = {"ping_key": agent.project.ping_key, "slug": job.slug or agent.name}
    return {
        "ping_url": on_base_url(reverse("ping", kwargs={"ping_id": job.ping_id})),
        "slug_url": on_base_url(reverse("ping_by_slug", kwargs=named)),
    }


def ping_base() -> str:
    """What a Healthchecks client takes as its base address."""
    return f"{settings.BASE_URL}/ping"
