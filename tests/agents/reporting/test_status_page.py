"""The public status page and badges: names and statuses only, and only if switched on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from xml.etree import ElementTree

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from agents.fleet import services
from agents.models import Agent, Rollup
from agents.reporting import status_page
from billing.services import set_plan
from teams.models import AuditEntry, Project, User
from tests.agents.conftest import T0, World

Anyone = Client
PAGE = "/status/research/"


@pytest.fixture
def shown(world: World) -> Iterator[World]:
    """A project with a page, an agent that works and one that crashed."""
    Project.objects.filter(pk=world.project.pk).update(status_page="named", status_address="research")
    world.beat(0, "good", cost_usd=12.34)
    world.beat(0, "bad", status="error", message="CRASH: KeyError: 'secret'")
    Agent.objects.filter(name="good").update(labels={"env": "prod", "a b": "x/y"})
    world.look(1)
    with world.clock(2):
        yield world


def get(path: str) -> Any:
    return Anyone().get(path)


def test_status_page_lists_all_agents(shown: World) -> None:
    text = get(PAGE).content.decode()
    assert "1 of 2 agents has problems" in text
    assert text.index("<h2>bad</h2>") < text.index("<h2>good</h2>")
    assert "down for" in text


def test_uptime_of_minutes_is_no_percentage(shown: World) -> None:
    text = get(PAGE).content.decode()
    assert "% uptime" not in text
    assert "down for 2 s since it was added" in text
    assert "no downtime since it was added" in text


def reporting_since(days: float) -> None:
    """Totals of each day since then, as retention leaves them."""
    Agent.objects.update(created_at=T0 - timedelta(days=200))
    for agent in Agent.objects.all():
        Rollup.objects.create(agent=agent, span="d", start=T0 - timedelta(days=days), beats=1)


def test_uptime_is_a_percentage_from_one_day_on(shown: World) -> None:
    Agent.objects.update(created_at=T0 - timedelta(days=2))
    for agent in Agent.objects.all():
        Rollup.objects.create(agent=agent, span="d", start=T0 - timedelta(days=2, hours=12), beats=1)
    text = get(PAGE).content.decode()
    assert "100.00 % uptime since it was added" in text
    assert "99.99 % uptime since it was added" in text, "two seconds of downtime are not none"


@pytest.mark.parametrize(("days", "said"), [(89.9, "90 days"), (6.5, "7 days")])
def test_uptime_is_of_the_days_that_are_kept(shown: World, days: float, said: str) -> None:
    reporting_since(days)
    assert f"100.00 % uptime in the last {said}" in get(PAGE).content.decode()


def test_nothing_is_claimed_of_time_not_monitored(world: World) -> None:
    Project.objects.filter(pk=world.project.pk).update(status_page="named", status_address="research")
    world.beat(0, "paused")
    world.beat(0, "ended", status="shutdown")
    with world.clock(0) as now:
        services.add_agent(project=world.project, name="added", kind="agent", actor="test", now=now)
        services.pause(agent=world.agent("paused"), actor="test", now=now)
    world.look(1)
    Agent.objects.update(created_at=T0 - timedelta(days=200))
    with world.clock(40 * 86_400):
        text = get(PAGE).content.decode()
    assert "No agent has problems: 1 new, 1 stopped, 1 paused." in text
    assert "OK" not in text
    assert "uptime" not in text
    assert "downtime" not in text
    assert 'aria-label="added, 90 days: no data yet"' in text


def test_dead_agents_last_report_is_no_heartbeat(shown: World) -> None:
    text = get(PAGE).content.decode()
    assert text.count("last report") == text.count("last heartbeat") == 1


def test_status_lasts_since_its_own_signal(world: World) -> None:
    Project.objects.filter(pk=world.project.pk).update(status_page="named", status_address="research")
    world.beat(0, cost_limit_usd=10, cost_usd=8.5, interval=30)
    world.look(1)
    world.beat(7_200, status="error", message="CRASH: KeyError: 'secret'")
    world.look(7_201)
    with world.clock(7_260):
        assert "for 1 min" in get(PAGE).content.decode()


def test_status_page_reveals_nothing_else(shown: World) -> None:
    text = get(PAGE).content.decode()
    for private in ("KeyError", "12.34", "Research", "/admin/", "owner@example.com"):
        assert private not in text


def test_query_count_does_not_grow_with_agents(
    shown: World, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    set_plan(team=shown.project.team, plan="pro", actor="test")
    for number in range(12):
        shown.beat(2, f"more-{number}")
    with django_assert_max_num_queries(6):
        assert "more-11" in get(PAGE).content.decode()


@pytest.mark.parametrize("path", [PAGE, "/status/other/", "/badge/research/agent/good.svg"])
def test_page_that_is_off_is_not_found(shown: World, path: str) -> None:
    Project.objects.update(status_page="off")
    assert get(path).status_code == 404


@pytest.mark.parametrize(
    ("path", "message", "colour"),
    [
        ("agent/good", "ok", "brightgreen"),
        ("agent/bad", "down", "red"),
        ("label/env/prod", "ok", "brightgreen"),
        ("label/a%20b/x/y", "ok", "brightgreen"),
    ],
)
def test_badge_is_svg_or_json(shown: World, path: str, message: str, colour: str) -> None:
    found = get(f"/badge/research/{path}.json").json()
    assert (found["message"], found["color"], found["schemaVersion"]) == (message, colour, 1)
    picture = get(f"/badge/research/{path}.svg")
    assert picture["Content-Type"] == "image/svg+xml"
    assert message in "".join(ElementTree.fromstring(picture.content).itertext())


@pytest.mark.parametrize("path", ["agent/none.svg", "agent/good.png", "label/env/test.svg", "label/x'%22/1.svg"])
def test_badge_of_unknown_agent_is_not_found(shown: World, path: str) -> None:
    assert get(f"/badge/research/{path}").status_code == 404


def test_names_are_escaped(shown: World) -> None:
    shown.beat(2, "<script>&")
    assert "<script>&" not in get(PAGE).content.decode()
    assert ElementTree.fromstring(get("/badge/research/agent/%3Cscript%3E&.svg").content) is not None


def test_badge_snippets(shown: World, owner: User, client_of: Any) -> None:
    shown.beat(2, 'a "[b]"')
    badges = status_page.badges(Project.objects.get(pk=shown.project.pk))
    assert [badge.of for badge in badges] == ['a "[b]"', "bad", "good", "a b: x/y", "env: prod"]
    assert badges[0].html.endswith('alt="a &quot;[b]&quot;"></a>')
    page, url = "http://127.0.0.1:8000/status/research/", f"http://127.0.0.1:8000{badges[0].path}"
    assert badges[0].markdown == f'[![a "\\[b\\]"]({url})]({page})'
    for badge in badges:
        assert get(badge.path).status_code == 200, badge.path
    text = client_of(owner).get(f"/admin/teams/project/{shown.project.pk}/change/").content.decode()
    assert 'data-copy="badge-markdown-1"' in text
    assert f'<img src="{badges[1].path}" alt="bad">' in text


def test_no_badges_without_a_status_page(project: Project, owner: User, client_of: Any) -> None:
    assert status_page.badges(project) == []
    assert "Badges" not in client_of(owner).get(f"/admin/teams/project/{project.pk}/change/").content.decode()


def test_long_list_is_cut_but_fully_counted(shown: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_page, "MAX_AGENTS", 1)
    text = get(PAGE).content.decode()
    assert "1 of 2 agents has problems" in text
    assert "<h2>bad</h2>" in text
    assert "<h2>good</h2>" not in text
    assert "Showing 1 of 2 agents, problems first." in text


FORM = {"name": "Production", "time_zone": "UTC", "default_grace": "", "monthly_budget_usd": "", "prices": ""}


def publish(browser: Any, project: Project, page: str, address: str = "") -> Any:
    path = f"/admin/teams/project/{project.pk}/change/"
    answer = browser.post(path, {**FORM, "status_page": page, "status_address": address})
    project.refresh_from_db()
    return answer


def test_owner_sets_a_named_or_secret_address(owner: User, project: Project, client_of: Any) -> None:
    browser = client_of(owner)
    assert publish(browser, project, "named", "our-agents").status_code == 302
    assert get("/status/our-agents/").status_code == 200
    assert publish(browser, project, "secret").status_code == 302
    secret = project.status_address
    assert secret
    assert len(secret) == 24
    publish(browser, project, "secret", "our-agents")
    assert project.status_address == secret, "what is secret is not named"
    page = f"/admin/teams/project/{project.pk}/change/"
    browser.post(page, {**FORM, "status_page": "secret", "new_address": "on"})
    project.refresh_from_db()
    assert (get(f"/status/{secret}/").status_code, get(f"/status/{project.status_address}/").status_code) == (404, 200)
    entry = AuditEntry.objects.filter(action="project.changed")[0]
    assert entry.data == {"status_address": "replaced"}
    publish(browser, project, "off")
    assert not project.status_address
    assert b"new_address" not in browser.get(page).content
    assert get(f"/status/{secret}/").status_code == 404


@pytest.mark.parametrize("address", ["", "ab", "Large", "a b", "-x-", "../x"])
def test_invalid_address_is_refused(owner: User, project: Project, client_of: Any, address: str) -> None:
    assert b"3 to 50 lowercase letters" in publish(client_of(owner), project, "named", address).content


def test_taken_address_is_refused(owner: User, project: Project, client_of: Any, stranger: User) -> None:
    Project.objects.exclude(pk=project.pk).update(status_page="named", status_address="taken")
    answer = publish(client_of(owner), project, "named", "taken")
    assert (answer.status_code, project.status_page) == (200, "off")
