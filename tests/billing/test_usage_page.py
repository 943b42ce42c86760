"""The page that says what a team has of its plan, and whom that leaves out."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from agents.fleet.services import delete_agent
from agents.models import Agent, Rollup
from billing import refusals
from billing.gateway import Offer
from billing.models import Refusal
from billing.services import set_plan
from teams import services
from teams.models import Project, Team, User
from tests.agents.admin.conftest import make_agent

PAGE = "/admin/billing/subscription/"


class Shop:
    """A payment provider."""

    def offer(self, team: Team, plan: Any) -> Offer:
        return Offer(f"Buy {plan.label}", f"https://shop.example/{team.pk}/{plan.key}")


def text(browser: Client) -> str:
    return browser.get(PAGE).content.decode()


def reject(project: Project, name: str) -> None:
    """A heartbeat of another agent, when the Free plan's three are in use."""
    for number in range(3 - Agent.objects.filter(project=project).count()):
        make_agent(project, f"in-use-{number}")
    refusals.record(team_id=project.team_id, project_id=project.pk, name=name, now=timezone.now())


def test_page_shows_a_reached_limit(project: Project, viewer: User, client_of: Any) -> None:
    for name in ("a", "b", "c"):
        make_agent(project, name)
    page = text(client_of(viewer))
    assert "Research: Free" in page
    assert re.search(r"3 <span[^>]*>of 3<.*?limit reached</span>", page, re.DOTALL)
    assert "near the limit" not in page


def test_page_warns_from_80_percent(project: Project, viewer: User, client_of: Any) -> None:
    set_plan(team=project.team, plan="starter", actor="test")
    for number in range(15):
        make_agent(project, f"agent-{number}")
    assert "near the limit" not in text(client_of(viewer))
    make_agent(project, "agent-15")
    assert "near the limit" in text(client_of(viewer))


def test_page_lists_all_plans(project: Project, viewer: User, client_of: Any) -> None:
    page = text(client_of(viewer))
    assert re.findall(r'<tr><th scope="row">(\w+)</th>', page) == ["Free", "Starter", "Pro", "Enterprise"]
    assert "10,000" in page


def test_query_count_is_constant(project: Project, operator: User, client_of: Any) -> None:
    browser, seen = client_of(operator), []
    for name in ("", "second", "third"):
        if name:
            team = services.create_team(owner=operator, name=name)
            make_agent(services.create_project(team=team, name=name, actor="test"), name)
            set_plan(team=team, plan="pro", actor="test")
        with CaptureQueriesContext(connection) as queries:
            assert f"{name or 'Research'}: " in text(browser)
        seen.append(len(queries))
    assert seen[0] == seen[1] == seen[2] <= 14


def test_teams_are_paginated(project: Project, operator: User, client_of: Any) -> None:
    for number in range(11):
        services.create_team(owner=operator, name=f"Team {number:02}")
    browser = client_of(operator)
    first, second = text(browser), browser.get(f"{PAGE}?page=2").content.decode()
    assert ("Team 08: Free" in first, "Team 09: Free" in first) == (True, False)
    assert "Team 10: Free" in second
    only = browser.get(f"{PAGE}?team={project.team_id}").content.decode()
    assert ("Research: Free" in only, "Team 00: Free" in only) == (True, False)


def test_operator_is_warned_before_a_downgrade(project: Project, operator: User, client_of: Any) -> None:
    page = client_of(operator).get(f"{PAGE}add/?team={project.team_id}").content.decode()
    assert "cannot be restored" in page


@pytest.mark.parametrize(("who", "seen"), [("owner", True), ("viewer", False), ("stranger", False)])
def test_fleet_banner_names_teams_over_the_limit(
    project: Project, who: str, seen: bool, client_of: Any, request: pytest.FixtureRequest
) -> None:
    browser = client_of(request.getfixturevalue(who))
    reject(project, "a-fourth")
    banner = "Research: some agents are not monitored"
    assert (banner in browser.get("/admin/").content.decode()) is seen
    Refusal.objects.update(last_at=timezone.now() - timedelta(hours=2))
    assert banner not in browser.get("/admin/").content.decode()


def test_owners_get_one_mail_per_day(project: Project, member: User, mailoutbox: Any) -> None:
    now = timezone.now()
    refusals.mail_owners(now)
    reject(project, "a-fourth")
    for hours in (0, 1, 30):
        refusals.mail_owners(now + timedelta(hours=hours))
    reject(project, "a-fifth")
    refusals.mail_owners(now + timedelta(hours=20))
    assert [mail.to for mail in mailoutbox] == [["owner@example.com"]]
    assert "- a-fourth\n\nDelete agents" in mailoutbox[0].body
    refusals.mail_owners(now + timedelta(hours=26))
    assert "- a-fifth\n\n" in mailoutbox[1].body
    assert "/admin/billing/subscription/" in mailoutbox[1].body


def test_page_lists_rejected_and_over_limit_agents(project: Project, owner: User, client_of: Any) -> None:
    set_plan(team=project.team, plan="starter", actor="test")
    for name in ("a", "b", "c", "late-comer"):
        make_agent(project, name)
    set_plan(team=project.team, plan="free", actor="test")
    reject(project, "a-fifth")
    page = text(client_of(owner))
    assert "<li>late-comer</li>" in page
    assert "a-fifth" in page
    assert "Ask the operator of this installation to move Research to Starter." in page


def test_daily_usage_is_charted(project: Project, owner: User, client_of: Any) -> None:
    agent = make_agent(project, "a")
    start = (timezone.now() - timedelta(days=2)).replace(hour=0, minute=0, second=0, microsecond=0)
    Rollup.objects.create(agent=agent, span=Rollup.Span.DAY, start=start, beats=1_440, cost=2_500_000)
    page = text(client_of(owner))
    day = re.findall(r"<td data-label=\"\w+\">([^<]+)</td>", page[: page.index("Plan limits")])
    assert day == ["1,440", "1", "$2.50"]
    assert page.count('height="100"') == 3, "one bar per chart"


def test_payment_gateway_replaces_the_default_offer(
    project: Project, owner: User, client_of: Any, settings: Any
) -> None:
    settings.PAYMENT_GATEWAY = f"{__name__}.Shop"
    assert f'href="https://shop.example/{project.team_id}/starter">Buy Starter</a>' in text(client_of(owner))


def test_support_address_is_offered(project: Project, owner: User, client_of: Any, settings: Any) -> None:
    settings.SUPPORT_EMAIL = "plans@example.com"
    assert "mailto:plans@example.com?subject=Move%20Research%20to%20Starter" in text(client_of(owner))


@pytest.mark.parametrize("word", ["Research", "secret-agent", "refused-agent"])
def test_other_teams_usage_is_hidden(project: Project, stranger: User, client_of: Any, word: str) -> None:
    make_agent(project, "secret-agent")
    Agent.objects.update(over_plan_at=timezone.now())
    reject(project, "refused-agent")
    assert word not in text(client_of(stranger))


def test_nobody_is_rejected_after_an_upgrade(project: Project, owner: User, mailoutbox: Any, client_of: Any) -> None:
    reject(project, "a-fourth")
    set_plan(team=project.team, plan="starter", actor="test")
    refusals.mail_owners(timezone.now())
    browser = client_of(owner)
    assert "a-fourth" not in text(browser)
    assert "not monitored" not in browser.get("/admin/").content.decode()
    assert not mailoutbox


def test_nobody_is_rejected_once_there_is_room(project: Project, owner: User, client_of: Any) -> None:
    reject(project, "a-fourth")
    delete_agent(agent=Agent.objects.all()[0], actor="test", now=timezone.now())
    # A heartbeat that was rejected at the same moment.
    refusals.record(team_id=project.team_id, project_id=project.pk, name="a-fourth", now=timezone.now())
    browser = client_of(owner)
    assert "a-fourth" not in text(browser)
    assert "not monitored" not in browser.get("/admin/").content.decode()


def test_first_minute_is_not_thirty_silent_days(project: Project, owner: User, client_of: Any) -> None:
    assert "No heartbeat in the last 30 days" in text(client_of(owner))
    make_agent(project, "a", beat=10)
    assert "No heartbeat in the last 30 days" not in text(client_of(owner))
    assert "Totals are updated every minute" in text(client_of(owner))
