"""One agent under review: its rows, its clocks, what came in, what was found and what was tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from agents.domain import budgets, clocks, restart_policy
from agents.models import Agent, AgentMemory, AgentState, Signal
from agents.rules.facts import BeatSeen, Finding, Learned


@dataclass(slots=True)
class Case:
    """One agent under review."""

    agent: Agent
    state: AgentState
    memory: AgentMemory
    alive: clocks.Clock | None
    progress: clocks.Clock | None
    settings: clocks.Settings
    month: budgets.Month | None = None
    rhythm: Learned = field(default_factory=Learned)
    beats: list[BeatSeen] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    # What a restart was made for and nothing is found of any more, but not yet proven to be cured.
    unproven: list[Finding] = field(default_factory=list)
    standing: list[Signal] = field(default_factory=list)
    restarts: list[datetime] = field(default_factory=list)
    ask_again: datetime | None = None
    set_aside: bool = False
    more_to_read: bool = False


def case_of(state: AgentState, outages: Sequence[clocks.Span]) -> Case:
    """An agent to be judged by its row, with both clocks."""
    agent = state.agent
    given = agent.clock_settings
    alive, progress = clocks.alive(given, state, outages), clocks.progress(given, state, outages)
    return Case(agent, state, agent.memory, alive, progress, given)


def has_ended(case: Case, now: datetime) -> bool:
    """Stopped, as it said; or a job that is silent, which is how jobs end. One that erred did not end well."""
    state, alive = case.state, case.alive
    silent = alive is not None and now >= alive.deadline
    return state.reported == "shutdown" or (
        case.agent.kind == Agent.Kind.JOB and silent and state.reported != "error" and not state.crashed
    )


def needed_for(case: Case) -> set[str]:
    """What was found that a restart could cure."""
    return restart_policy.cures({finding.kind for finding in case.findings}, runner_down=case.state.runner_down)
