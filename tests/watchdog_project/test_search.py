"""Search for everything: what the person may see, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from agents.models import AgentName
from teams.models import Project, User
from tests.agents.admin.conftest import make_agent, make_incident

pytestmark = pytest.mark.django_db
Browse = Callable[[User], Client]
PART = {"HX-Request": "true"}


def found(browser: Client, query: str) -> str:
    return browser.get("/admin/find/", {"q": query}, headers=PART).content.decode()


def test_search_finds_every_kind_of_row(project: Project, owner: User, viewer: User, client_of: Browse) -> None:
    agent = make_agent(project, "research-bot", source="1/10.0.0.5/web-1")
    incident = make_incident(agent, reason="No progress for 47 minutes")
    browser = client_of(owner)
    assert f'href="/admin/agents/agent/{agent.pk}/change/">research-bot</a>' in found(browser, "research")
    assert "research-bot" in found(browser, "web-1"), "by host"
    assert f"/admin/agents/incident/{incident.pk}/change/" in found(browser, "47 minutes")
    assert "/admin/teams/project/" in found(browser, project.name)
    assert viewer.email in found(browser, "viewer@")


def test_agent_with_several_names_is_found_once(project: Project, viewer: User, client_of: Browse) -> None:
    agent = make_agent(project, "research-bot")
    AgentName.objects.create(project=project, agent=agent, name="research-bot-2")
    assert found(client_of(viewer), "research").count("research-bot</a>") == 1


@pytest.mark.parametrize("form", ["{}", "#{}"])
def test_incident_is_found_by_its_number(form: str, project: Project, viewer: User, client_of: Browse) -> None:
    incident = make_incident(make_agent(project, "research-bot"))
    page = f"/admin/agents/incident/{incident.pk}/change/"
    assert page in found(client_of(viewer), form.format(incident.pk))
    assert page not in found(client_of(viewer), form.format(incident.pk + 1))
    assert "Nothing found" in found(client_of(viewer), form.format("9" * 30))


def test_documentation_is_found_too(project: Project, viewer: User, client_of: Browse) -> None:
    body = found(client_of(viewer), "grace period")
    assert "<h2>Documentation</h2>" in body
    assert 'href="/docs/glossary/#grace-period"' in body


def test_search_page_works_without_scripts(project: Project, viewer: User, client_of: Browse) -> None:
    make_agent(project, "research-bot")
    page = client_of(viewer).get("/admin/find/", {"q": "research"}).content.decode()
    assert "research-bot" in page
    assert "<main" in page


def test_strangers_find_nothing(project: Project, owner: User, stranger: User, client_of: Browse) -> None:
    incident = make_incident(make_agent(project, "research-bot"), reason="secret reason")
    browser = client_of(stranger)
    for query in ("research", "secret", owner.email, project.name, str(incident.pk)):
        assert "/admin/" not in found(browser, query), query
    assert "Nothing found" in found(browser, "research-bot")
    assert Client().get("/admin/find/", {"q": "research"}).status_code == 302


def test_query_is_escaped_and_bounded(project: Project, viewer: User, client_of: Browse) -> None:
    assert "<script>" not in found(client_of(viewer), "<script>")
    assert client_of(viewer).get("/admin/find/", {"q": "x" * 5_000}, headers=PART).status_code == 200
