"""Headings, tab titles and breadcrumbs: our words, our side bar, no page of Django's own."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape

import pytest
from django.test import Client

from teams.admin.audit import details
from teams.models import Project, User
from tests.agents.admin.conftest import make_agent

pytestmark = pytest.mark.django_db
Browse = Callable[[User], Client]


def parts_of(page: str) -> list[str]:
    heading = re.sub(r"<span[^>]*>chevron_right</span>", "/", page.partition("<h1")[2].partition("</h1>")[0])
    return [part.strip() for part in unescape(re.sub(r"<[^>]*>", "", heading.partition(">")[2])).split("/")]


def title_of(page: str) -> str:
    return page.partition("<title>")[2].partition("</title>")[0].strip()


@pytest.mark.parametrize(
    ("path", "title", "parts"),
    [
        ("agents/agent/", "Agents", ["Fleet", "Agents"]),
        ("agents/agent/add/", "Add agent", ["Fleet", "Agents", "Add agent"]),
        ("teams/project/", "Projects", ["Team", "Projects"]),
        ("teams/user/", "People", ["Operator", "People"]),
        ("teams/failedsignin/", "Failed sign-ins", ["Operator", "Failed sign-ins"]),
        ("alerts/channel/", "Channels", ["Alerting", "Channels"]),
        ("billing/subscription/", "Plan and usage", ["Team", "Plan and usage"]),
        ("first-steps/", "Get started", ["Get started"]),
    ],
)
def test_page_has_title_and_breadcrumbs(
    path: str, title: str, parts: list[str], project: Project, operator: User, client_of: Browse
) -> None:
    page = client_of(operator).get(f"/admin/{path}").content.decode()
    assert title_of(page) == f"{title} | ClevAgent Watchdog"
    assert parts_of(page) == parts
    assert not re.search(r'<a href="/admin/\w+/"', page.partition("<h1")[2].partition("</h1>")[0])


def test_row_is_the_last_breadcrumb(project: Project, owner: User, client_of: Browse) -> None:
    agent = make_agent(project)
    page = client_of(owner).get(f"/admin/agents/agent/{agent.pk}/change/").content.decode()
    assert parts_of(page) == ["Fleet", "Agents", "bot"]


@pytest.mark.parametrize("app", ["agents", "teams", "alerts", "billing"])
def test_bare_index_of_an_app_leads_home(app: str, project: Project, owner: User, client_of: Browse) -> None:
    assert client_of(owner).get(f"/admin/{app}/").headers["Location"] == "/admin/"


def test_expired_page_has_our_look(project: Project, owner: User) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(owner)
    answer = browser.post("/accounts/teams/", {"name": "x"})
    assert answer.status_code == 403
    assert "This page has expired" in answer.content.decode()
    assert "CSRF" not in answer.content.decode()


def test_labels_in_the_audit_log_are_pairs() -> None:
    changed = {"labels": {"from": {}, "to": {"env": "staging", "host": "a"}}, "interval": {"from": 60.0, "to": 30.0}}
    assert details(changed) == "labels: from none to env=staging, host=a; interval: from 60.0 to 30.0"
    assert details({"labels": {"env": "staging"}}) == "labels: env=staging"
