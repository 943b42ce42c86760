"""Spend in the admin: a project's budget and prices; priced, reported and unpriced spend."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from agents.models import Agent, AgentState
from agents.rules.facts import BeatSeen
from agents.rules.observers import burn_rate
from teams import prices
from teams.models import AuditEntry, Project, User
from tests.agents.admin.conftest import Browse
from tests.agents.admin.test_agents import page_of
from tests.agents.admin.test_rules import project_form, project_page

OWN = [{"model": "llama-*", "input": 0.2, "output": 0.6}]


@pytest.fixture
def spent(bot: Agent) -> AgentState:
    state = bot.state
    state.day = timezone.now().date()
    state.month = state.day.replace(day=1)
    state.cost_today = state.cost_month = state.cost_total = 9_000_000
    state.priced_today = state.priced_month = state.priced_total = 7_000_000
    state.unpriced, state.unpriced_month, state.unpriced_total = {"house": 12_300}, 12_300, 12_300
    state.run_cost, state.run_priced = 1_000_000, 1_000_000
    state.check_at = None
    state.save()
    return state


def save(browser: Any, project: Project, **given: str) -> Any:
    return browser.post(project_page(project), project_form(project, **given))


def test_owner_sets_monthly_budget_and_prices(
    project: Project, owner: User, client_of: Browse, django_capture_on_commit_callbacks: Any, spent: AgentState
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        answer = save(client_of(owner), project, monthly_budget_usd="250.50", prices=prices.format_lines(OWN))
    assert answer.status_code == 302
    project.refresh_from_db()
    assert (float(project.monthly_budget_usd or 0), project.prices) == (250.5, OWN)
    assert AuditEntry.objects.filter(action="project.changed").exists()
    spent.refresh_from_db()
    assert spent.check_at is not None
    assert spent.check_at > timezone.now() - timedelta(minutes=1)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"monthly_budget_usd": "-1"}, "Must be 0 or more"),
        ({"prices": "x"}, "Line 1: model, input and output are required"),
        ({"prices": "x input 1 output -1"}, "“output” must be USD"),
    ],
)
def test_invalid_budget_or_prices_are_refused(
    given: dict[str, str], says: str, project: Project, owner: User, client_of: Browse
) -> None:
    answer = save(client_of(owner), project, **given)
    assert (answer.status_code, says in answer.content.decode()) == (200, True)
    project.refresh_from_db()
    assert (project.monthly_budget_usd, project.prices) == (None, [])


def test_project_page_shows_monthly_spend(
    project: Project, member: User, owner: User, client_of: Browse, spent: AgentState
) -> None:
    Project.objects.filter(pk=project.pk).update(monthly_budget_usd=100)
    for person in (owner, member):
        body = client_of(person).get(project_page(project)).content.decode()
        assert "$9.00 of $100.00: $7.00 priced by the server, $2.00 as reported" in body
        assert "12,300 tokens without a known price not included" in body


def test_agent_page_separates_priced_and_unpriced(
    bot: Agent, member: User, client_of: Browse, spent: AgentState
) -> None:
    body = client_of(member).get(page_of(bot)).content.decode()
    assert "$7.00 priced by the server, $2.00 as reported." in body
    assert "12,300 tokens without a known price not included: house." in body
    assert "This run $1.00; this month $9.00; $9.00 total and 12,300 tokens without a known price." in body
    assert "On hold" not in body


def test_agent_page_shows_spend_rate(bot: Agent, member: User, client_of: Browse, spent: AgentState) -> None:
    now = timezone.now()
    beats = [BeatSeen(now - timedelta(days=day, minutes=1), "ok", cost=300_000 * (1 + day)) for day in (3, 2, 1, 0)]
    bot.memory.rules = {"cost": burn_rate.read({}, beats)}
    bot.memory.save()
    assert "$0.30 in the last hour (usually $0.90 per hour)." in client_of(member).get(page_of(bot)).content.decode()


def test_agent_page_shows_hold(bot: Agent, member: User, client_of: Browse, spent: AgentState) -> None:
    AgentState.objects.update(hold=True)
    assert "On hold" in client_of(member).get(page_of(bot)).content.decode()
