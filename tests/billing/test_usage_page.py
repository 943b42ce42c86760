"""The page that says what a team has of its plan, and whom that leaves out."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from agents.models import Agent, Rollup
from billing import refusals
from billing.gateway import Offer
from billing.services import set_plan
from teams.models import Project, Team, User
from tests.agents.admin.conftest import make_agent

PAGE = "/admin/billing/subscription/"


class Shop:
    """A payment provider."""

    def offer(self, team: Team, plan: Any) -> Offer:
        return Offer(f"Buy {plan.label}", f"https://shop.example/{team.pk}/{plan.key}")


def text(browser: Client) -> str:
    return browser.get(PAGE).content.decode()


def test_it_shows_how_full_the_plan_is(project: Project, viewer: User, client_of: Any) -> None:
    for name in ("a", "b", "c"):
        make_agent(project, name)
    page = text(client_of(viewer))
    assert "Research: Free" in page
    assert "of 3 – full" in page


def test_it_names_who_was_refused_and_who_is_left_out(project: Project, owner: User, client_of: Any) -> None:
    set_plan(team=project.team, plan="starter", actor="test")
    for name in ("a", "b", "c", "late-comer"):
        make_agent(project, name)
    set_plan(team=project.team, plan="free", actor="test")
    refusals.note(team_id=project.team_id, project_id=project.pk, name="a-fifth", now=timezone.now())
    page = text(client_of(owner))
    assert "<li>late-comer</li>" in page
    assert "a-fifth" in page
    assert "Ask the operator of this installation to move Research to Starter." in page


def test_a_days_heartbeats_are_drawn(project: Project, owner: User, client_of: Any) -> None:
    agent = make_agent(project, "a")
    start = (timezone.now() - timedelta(days=2)).replace(hour=0, minute=0, second=0, microsecond=0)
    Rollup.objects.create(agent=agent, span=Rollup.Span.DAY, start=start, beats=1_440)
    page = text(client_of(owner))
    assert "1,440 heartbeats of 1 agent<" in page
    assert "at most 1,440; today 0 of 0 agents" in page


def test_a_payment_provider_takes_the_place_of_the_operator(
    project: Project, owner: User, client_of: Any, settings: Any
) -> None:
    settings.PAYMENT_GATEWAY = f"{__name__}.Shop"
    assert f'href="https://shop.example/{project.team_id}/starter">Buy Starter</a>' in text(client_of(owner))


@pytest.mark.parametrize("word", ["Research", "secret-agent", "refused-agent"])
def test_nobody_sees_another_teams(project: Project, stranger: User, client_of: Any, word: str) -> None:
    make_agent(project, "secret-agent")
    Agent.objects.update(over_plan_at=timezone.now())
    refusals.note(team_id=project.team_id, project_id=project.pk, name="refused-agent", now=timezone.now())
    assert word not in text(client_of(stranger))
