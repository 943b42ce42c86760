"""One agent under review: its rows, its clocks, the new heartbeats, the findings and the restarts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from agents.domain import budgets, clocks, jobs, restart_policy
from agents.models import Agent, AgentMemory, AgentState, Signal
from agents.rules.facts import BeatSeen, Finding, Learned
from agents.rules.jobs import did_not_start
from agents.rules.observers import runs


@dataclass(slots=True)
class Case:
    """One agent under review.

    `signals` are those open before the review, then those open after it. `unproven` are former findings that a restart
    seems to have fixed, kept open until there is progress. `set_aside` means that the review of this agent failed.
    `is_being_restarted`: its goodbye is that of a process which its runner replaces.
    """

    agent: Agent
    state: AgentState
    memory: AgentMemory
    alive: clocks.Clock | None
    progress: clocks.Clock | None
    settings: clocks.Settings
    job: jobs.Job | None = None
    month: budgets.Month | None = None
    rhythm: Learned = field(default_factory=Learned)
    beats: list[BeatSeen] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    unproven: list[Finding] = field(default_factory=list)
    signals: list[Signal] = field(default_factory=list)
    restarts: list[datetime] = field(default_factory=list)
    retry_restart_at: datetime | None = None
    is_being_restarted: bool = False
    set_aside: bool = False
    has_unread_beats: bool = False
    holds_for_loop: bool = False


def case_of(state: AgentState, outages: Sequence[clocks.Span]) -> Case:
    """The case of a hot row, with both clocks."""
    agent = state.agent
    given = agent.clock_settings
    alive, progress = clocks.alive(given, state, outages), clocks.progress(given, state, outages)
    return Case(agent, state, agent.memory, alive, progress, given)


def job_of(
    agent: Agent, memory: Mapping[str, Any], outages: Sequence[clocks.Span], last_beat_at: datetime | None
) -> jobs.Job | None:
    """The runs and the schedule of a job; None for other agents, and for a job that has neither.

    A schedule is set by a person, else declared by the client. Where nothing reports runs, any heartbeat shows that the
    job was started.
    """
    if agent.kind != Agent.Kind.JOB:
        return None
    state, settings = memory.get(runs.KIND, {}), getattr(agent, "job", None)
    schedule = (settings.as_schedule if settings else None) or runs.declared_schedule(state)
    waived = memory.get(did_not_start.KIND, {}).get("waived")
    job = jobs.Job(
        schedule=schedule,
        runs=runs.runs_of(state),
        seen=runs.seen_at(state) if runs.RUNS in state else last_beat_at,
        waived=datetime.fromisoformat(waived) if waived else None,
        resumed_at=agent.resumed_at,
        outages=outages,
    )
    return job if schedule or job.runs else None


def set_job(case: Case, outages: Sequence[clocks.Span]) -> None:
    """Judge a job by its schedule. The two clocks run only during a run.

    That of heartbeats runs if an interval was declared, that of progress once the run has shown some.
    """
    case.job = job_of(case.agent, case.memory.rules, outages, case.state.last_beat_at)
    if case.job is None:
        return
    began, progressed = case.job.running_since, case.state.last_progress_at
    if began is None or case.state.declared_interval is None:
        case.alive = None
    # A command that prints nothing shows no progress, and nothing is wrong with it.
    if began is None or progressed is None or progressed <= began:
        case.progress = None


def has_ended(case: Case, now: datetime) -> bool:
    """Whether the agent shut down for good, or is a job that went silent, which is how jobs end. An error is no good
    end."""
    state, alive = case.state, case.alive
    if case.job is not None:
        return False
    silent = alive is not None and now >= alive.deadline
    return (state.reported == "shutdown" and not case.is_being_restarted) or (
        case.agent.kind == Agent.Kind.JOB and silent and state.reported != "error" and not state.crashed
    )


def curable_kinds(case: Case) -> set[str]:
    """The kinds of findings that a restart may cure."""
    return restart_policy.cures({finding.kind for finding in case.findings}, runner_down=case.state.runner_down)
