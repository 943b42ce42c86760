"""The fleet with the filters of the list of agents."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from django.test import Client

from agents.models import Agent
from teams import services
from teams.models import Project, User
from tests.agents.admin.conftest import Browse, make_agent, make_incident
from tests.agents.admin.test_agents import names_in
from tests.agents.admin.test_fleet_tiles import tiles

pytestmark = pytest.mark.django_db
FLEET, LIVE, LIST = "/admin/", "/admin/fleet/", "/admin/agents/agent/"
POLL = {"HX-Request": "true"}


@pytest.fixture
def staging(project: Project, owner: User) -> Project:
    """Two projects: two down and two well, an `indexer` and a `crawler` in each."""
    other = services.create_project(team=project.team, name="Staging", actor=owner.email)
    make_agent(project, "crawler", status="down", source="1/10.0.0.5/web-1"), make_agent(project, "indexer")
    make_incident(make_agent(other, "crawler")), make_agent(other, "indexer")
    Agent.objects.filter(project=other).update(labels={"env": "test"})
    return other


def text(browser: Client, address: str, **more: Any) -> str:
    return html.unescape(browser.get(address, **more).content.decode())


def narrowed(body: str) -> str:
    """What is said of the filter, without its marks; empty where there is none."""
    said = re.findall(r'<p class="w-narrowed".*?</p>', body)
    return " ".join(re.sub(r"<span class=\"w-icon.*?</span>|<[^>]+>", "", said[0]).split()) if said else ""


@pytest.mark.parametrize("page", [FLEET, LIVE])
@pytest.mark.parametrize(
    ("asked", "names", "said"),
    [
        ("q=web-1", ["crawler"], "“web-1”: 1 of 4 agents. 1 of them needs attention. 1 hidden agent needs attention"),
        ("q=crawl", ["crawler", "crawler"], "“crawl”: 2 of 4 agents. 2 of them need attention. Show all"),
        ("project__id__exact={}", ["crawler", "indexer"], "project Staging: 2 of 4 agents. 1 of them needs attention."),
        ("label=env", ["crawler", "indexer"], "env: 2 of 4 agents. 1 of them needs attention. 1 hidden agent needs"),
        ("status=down", ["crawler"], "status down: 1 of 4 agents. 1 of them needs attention. 1 hidden agent needs"),
        ("status=ok", ["indexer", "indexer"], "ok: 2 of 4 agents. None of them needs attention. 2 hidden agents need"),
        ("q=crawler&label=env%3Dtest&status=ok", [], "“crawler”, status ok, label env=test: 0 of 4 agents. 2 hidden"),
    ],
)  # fmt: skip
def test_filter_applies_to_the_fleet(
    page: str, asked: str, names: list[str], said: str, staging: Project, viewer: User, client_of: Browse
) -> None:
    body = text(client_of(viewer), f"{page}?{asked.format(staging.pk)}")
    assert names_in(body) == names
    assert said in narrowed(body)
    assert "All agents OK" not in body


def test_no_filter_text_without_a_filter(staging: Project, viewer: User, client_of: Browse) -> None:
    body = text(client_of(viewer), FLEET)
    assert narrowed(body) == ""
    assert "2 of 4 agents need attention" in body
    assert f'hx-get="{LIVE}"' in body


def test_filter_on_healthy_fleet_hides_nothing(project: Project, viewer: User, client_of: Browse) -> None:
    make_agent(project, "good")
    body = text(client_of(viewer), f"{FLEET}?status=down")
    assert "All agents OK" in body
    assert "No agents match status down." in body
    assert "hidden agent" not in body


# Counts


def test_tiles_count_all_other_filters(staging: Project, viewer: User, client_of: Browse) -> None:
    body = text(client_of(viewer), f"{FLEET}?project__id__exact={staging.pk}&status=ok")
    here = f"{FLEET}?project__id__exact={staging.pk}"
    assert re.findall(r'aria-current="true" href="([^"]+)"><strong>(\d+)<', body) == [(here, "1")]
    assert f'href="{here}&status=stalled"><strong>1<' in body
    assert f'href="{here}&status=down"><strong>0<' in body


def test_active_tile_clears_the_last_filter(project: Project, viewer: User, client_of: Browse) -> None:
    make_agent(project), make_agent(project, "bad", status="down")
    body = text(client_of(viewer), f"{FLEET}?status=down")
    assert re.findall(r'aria-current="true" href="([^"]+)"', body) == [f"{FLEET}?clear"]
    assert tiles(body)["ok"] == 1


def test_groups_count_and_link_to_matches(staging: Project, viewer: User, client_of: Browse) -> None:
    body = text(client_of(viewer), f"{LIVE}?status=ok")
    heads = re.findall(r'scope="rowgroup"><a [^>]*href="([^"]+)">([^<]+)</a> <span class="w-soft">([^<]*)<', body)
    assert [(name, counts) for _, name, counts in heads] == [("Production", "1 ok"), ("Staging", "1 ok")]
    assert heads[1][0] == f"{LIST}?status=ok&project__id__exact={staging.pk}"
    assert "rowgroup" not in text(client_of(viewer), f"{LIVE}?status=down")


def test_open_incidents_follow_filters_except_status(
    project: Project, staging: Project, viewer: User, client_of: Browse
) -> None:
    browser = client_of(viewer)
    for asked, n in {
        f"project__id__exact={staging.pk}": 1,
        f"project__id__exact={project.pk}": 0,
        "q=indexer": 0,
    }.items():
        assert ("Open incidents (1)" in text(browser, f"{LIVE}?{asked}&status=ok")) == bool(n), asked
    assert "Open incidents (1)" in text(browser, f"{LIVE}?status=ok")
    body = text(browser, f"{LIVE}?project__id__exact={staging.pk}&q=x")
    assert f'href="/admin/agents/incident/?project__id__exact={staging.pk}"' in body


# The live part, the list, and what is chosen


def test_live_part_and_list_keep_the_filter(project: Project, viewer: User, client_of: Browse) -> None:
    for n in range(30):
        make_agent(project, f"down-{n}", status="down")
    make_agent(project, "good")
    body = text(client_of(viewer), f"{FLEET}?status=down&q=down&utm_source=mail")
    assert f'hx-get="{LIVE}?q=down&status=down"' in body
    assert "Showing 25 of 30 matching agents." in body
    assert f'href="{LIST}?q=down&status=down">Show all 30<' in body


def test_select_all_selects_only_matches(project: Project, staging: Project, member: User, client_of: Browse) -> None:
    asked = f"?project__id__exact={project.pk}&status=ok"
    browser = client_of(member)
    for page in (FLEET, LIVE):
        body = text(browser, f"{page}{asked}")
        assert f'action="{LIST}{asked}"' in body
        assert f'name="back" value="{FLEET}{asked}"' in body
        assert 'data-total="1"' in body
    box = Agent.objects.get(project=staging, name="crawler").pk
    sent = {
        "action": "pause_selected",
        "choice": "1h",
        "index": "0",
        "select_across": "1",
        "_selected_action": box,
        "back": FLEET + asked,
    }
    assert browser.post(f"{LIST}{asked}", sent)["Location"] == FLEET + asked
    paused = Agent.objects.filter(paused_at__isnull=False).values_list("name", "project__name")
    assert list(paused) == [("indexer", "Production")]


# Remembered


def test_fleet_remembers_its_filter(project: Project, viewer: User, client_of: Browse) -> None:
    make_agent(project), make_agent(project, "bad", status="down")
    browser = client_of(viewer)
    assert browser.get(f"{FLEET}?q=&status=ok&label=")["Location"] == f"{FLEET}?status=ok"
    browser.get(f"{FLEET}?status=ok"), browser.get(LIVE, headers=POLL), browser.get(LIST)
    answer = browser.get(FLEET, follow=True)
    assert answer.redirect_chain == [(f"{FLEET}?status=ok", 302)]
    assert "1 hidden agent needs attention." in narrowed(html.unescape(answer.content.decode()))
    assert browser.get(f"{FLEET}?clear")["Location"] == FLEET
    assert browser.get(FLEET).status_code == 200


def test_fleet_and_list_remember_separately(project: Project, viewer: User, client_of: Browse) -> None:
    browser = client_of(viewer)
    browser.get(f"{LIST}?status=down")
    assert browser.get(FLEET).status_code == 200
    browser.get(f"{FLEET}?status=late")
    assert browser.get(LIST)["Location"] == f"{LIST}?status=down"


# Nonsense


NONSENSE = [
    *(
        "project__id__exact=abc",
        "project__id__exact={theirs}",
        "project__id__exact=99999999999999999999999",
        "status=fine",
    ),
    *(
        "project__id__exact=%C2%B2",
        "label=" + "x" * 3000,
        "q=zz%25_",
    ),
    pytest.param("q=" + "a+" * 1500, id="words"),
]


@pytest.mark.parametrize("page", [FLEET, LIVE, LIST])
@pytest.mark.parametrize("asked", NONSENSE)
@pytest.mark.parametrize("projects", [1, 2])
def test_unknown_filter_values_match_nothing(
    projects: int, asked: str, page: str, project: Project, stranger: User, viewer: User, client_of: Browse
) -> None:
    make_agent(project, "own"), make_agent(Project.objects.get(name="Theirs"), "secret")
    if projects == 2:
        services.create_project(team=project.team, name="Staging", actor="test")
    answer = client_of(viewer).get(f"{page}?{asked.format(theirs=Project.objects.get(name='Theirs').pk)}")
    body = answer.content.decode()
    assert (answer.status_code, names_in(body)) == (200, [])
    assert "No agents match" in body
    assert "Theirs" not in body


@pytest.mark.parametrize("page", [FLEET, LIVE, LIST])
@pytest.mark.parametrize("name", ["project__id__exact", "status", "label"])
def test_nul_in_a_filter_is_refused(name: str, page: str, project: Project, viewer: User, client_of: Browse) -> None:
    """PostgreSQL cannot compare with one."""
    assert client_of(viewer).get(f"{page}?{name}=%00").status_code == 400


@pytest.mark.parametrize(
    "asked", ["project=abc", "e=1", "p=x", "nonsense=1", "project__team__name__startswith=E", "q=%00"]
)
def test_unknown_parameters_are_ignored(asked: str, project: Project, viewer: User, client_of: Browse) -> None:
    make_agent(project, "own")
    for page in (FLEET, LIVE):
        answer = client_of(viewer).get(f"{page}?{asked}")
        assert (answer.status_code, names_in(answer.content.decode())) == (200, ["own"])
        assert narrowed(answer.content.decode()) == ""


def test_filter_values_are_escaped(project: Project, viewer: User, client_of: Browse) -> None:
    make_agent(project, "own")
    body = client_of(viewer).get(FLEET, {"q": "<b>", "label": "<i>", "status": '"><u>'}).content.decode()
    assert not {"<b>", "<i>", "<u>"} & set(re.findall(r"<[biu]>", body))
