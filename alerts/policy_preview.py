"""Who would be notified, and when, if an agent had a problem now. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from agents.incidents.snoozes import zone_of
from agents.models import Agent
from alerts import on_call, policies
from alerts.policies import Problem, Rule, Step


class Preview(NamedTuple):
    """One notification that would be sent while nobody acknowledges the incident."""

    at: datetime
    targets: tuple[str, ...]
    why: str


def preview(rules: Sequence[Rule], agent: Agent, kind: str, severity: str, now: datetime) -> list[Preview]:
    """In order; empty if no rule applies, so that alert routing decides."""
    local = now.astimezone(zone_of(agent.project.time_zone))
    rule = policies.matching(rules, Problem(severity, kind, {agent.name: agent.labels}, local))
    if rule is None:
        return []
    return [
        Preview(notice.at, _whom(agent, rule.steps[notice.step], notice.at), policies.describe(rule, notice))
        for notice in policies.plan(rule, now)
    ]


def _whom(agent: Agent, step: Step, at: datetime) -> tuple[str, ...]:
    on_duty = sorted(on_call.people_on_call(agent.project_id, step.on_call, at))
    return (*step.channels, *step.people, *(f"{person} (on call)" for person in on_duty))
