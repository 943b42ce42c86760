"""The fleet and the list of agents, as a person sees them."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from agents.models import Agent, AgentState, Heartbeat, Rollup
from teams import services
from teams.models import Project, User
from tests.agents.admin.conftest import make_agent, make_incident
from tests.browser.conftest import Open
from tests.browser.tab import SIZES
from tests.browser.test_live_pages import make_fleet

LIST = "/admin/agents/agent/"
pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def with_history(project: Project) -> None:
    """An hour of heartbeats for everybody, with errors, silence and no progress here and there."""
    make_fleet(project)
    minute = timezone.now().replace(second=0, microsecond=0)
    Agent.objects.update(created_at=minute - timedelta(days=2))
    Rollup.objects.bulk_create(
        Rollup(
            agent=agent,
            span="m",
            start=minute - timedelta(minutes=n),
            beats=2,
            progress=int(agent.name != "research-agent" or n > 47),
            errors=int(agent.name == "crawler" and n % 17 == 3),
        )
        for agent in Agent.objects.exclude(name="brand-new")
        for n in range(120)
        if (n * agent.pk) % 41 != 5
    )


def with_staging(project: Project) -> None:
    """A second project; labels, hosts and an exceeded budget."""
    other = services.create_project(team=project.team, name="Staging", actor="test")
    make_agent(other, "indexer", source="4/10.0.0.9/worker-2", last_progress_at=timezone.now())
    looper = make_agent(
        other, "deployer", source="4/10.0.0.9/worker-2", day=timezone.now().date(), cost_today=5_310_000
    )
    AgentState.objects.filter(agent=looper).update(
        cost_limit=5_000_000, unpriced={"own-model": 12_000}, tokens_today=90_000
    )
    make_incident(looper, kind="loop", reason="The same call 40 times")
    AgentState.objects.filter(agent=looper).update(status="warning", warnings=[["1:loop:1", "The same call 40 times"]])
    Agent.objects.filter(name__in=["indexer", "crawler"]).update(labels={"env": "prod", "host": "mac-mini"})


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_fleet_layout(open_tab: Open, owner: User, project: Project, width: int, scheme: str) -> None:
    with_history(project)
    tab = open_tab(owner, width, scheme)
    with_staging(project)
    asked = "?status=warning&label=env%3Dprod"
    over = "/admin/?label=env&status=over_budget"
    paths = {"fleet": "/admin/", "fleet-filtered": over, "agents": LIST, "agents-filtered": LIST + asked}
    for name, path in paths.items():
        page = tab.go(path)
        page.locator(".w-filter").wait_for()
        tab.picture(f"{name}-{width}-{scheme}")
        assert tab.barriers() == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name


def test_heartbeat_appears_in_the_strip(open_tab: Open, owner: User, project: Project) -> None:
    with_history(project)
    Rollup.objects.all().delete()
    tab = open_tab(owner)
    page = tab.go("/admin/")
    drawing = page.locator("tr", has_text="crawler").locator(".w-strip svg")
    assert "no data yet" not in (drawing.get_attribute("aria-label") or "")
    now, crawler = timezone.now(), Agent.objects.get(name="crawler")
    Heartbeat.objects.create(agent=crawler, day=now.date(), received_at=now, spent_at=now, status="error")
    page.locator("tr", has_text="crawler").locator(".w-strip path.w-s-error").wait_for(state="attached")


def test_fleet_filters_live_and_is_remembered(open_tab: Open, owner: User, project: Project) -> None:
    make_agent(project, "good"), make_agent(project, "bad", status="down"), make_agent(project, "better")
    tab = open_tab(owner)
    page = tab.go("/admin/")
    rows = page.locator("#result_list tbody th a")
    page.get_by_role("combobox", name="Status").select_option("ok")
    page.get_by_role("button", name="Apply").click()
    tab.sees("1 hidden agent needs attention.")
    assert page.url == f"{tab.base}/admin/?status=ok"
    expect(rows).to_have_text(["better", "good"])
    AgentState.objects.filter(agent__name="better").update(status="down")
    tab.sees("2 hidden agents need attention.")
    expect(rows).to_have_text(["good"])
    tab.go("/admin/agents/agent/")
    page.get_by_role("link", name="Overview").click()
    tab.sees("Filtered by status ok")
    page.locator("#fleet").get_by_role("link", name="Show all", exact=True).click()
    page.get_by_role("link", name="bad", exact=True).wait_for()
    assert page.url == f"{tab.base}/admin/"


def test_counts_toggle_filters_by_keyboard(open_tab: Open, owner: User, project: Project) -> None:
    make_agent(project, "good"), make_agent(project, "bad", status="down")
    tab = open_tab(owner, 390, "dark")
    page = tab.go("/admin/?q=a")
    for name, url in (("0 stalled", "?q=a&status=stalled"), ("1 down", "?q=a&status=down"), ("1 down", "?q=a")):
        page.locator(".w-tiles a", has_text=re.compile(name.replace(" ", ".*"), re.DOTALL)).focus()
        page.keyboard.press("Enter")
        page.wait_for_url(f"{tab.base}/admin/{url}")
        if name == "0 stalled":
            tab.sees("No agents match “a”, status stalled.")
            tab.picture("fleet-empty-390-dark")
        expect(page.locator("#fleet [aria-current]")).to_have_count(url.count("status"))
    assert tab.barriers() == []


def test_pausing_all_matches_keeps_the_filter(open_tab: Open, owner: User, project: Project) -> None:
    for n in range(27):
        make_agent(project, f"down-{n:02}", status="down")
    make_agent(project, "good")
    tab = open_tab(owner)
    page = tab.go("/admin/?status=down")
    page.get_by_role("button", name="Select all 25 shown").click()
    page.get_by_role("button", name="Select all 27").click()
    page.get_by_role("button", name="Pause monitoring…", exact=True).click()
    tab.sees("Pause monitoring of 27 agents?")
    assert tab.barriers() == []
    page.get_by_role("button", name="Pause monitoring", exact=True).click()
    tab.sees("Monitoring paused for 27 agents.")
    assert page.url.endswith("/admin/?status=down")
    assert [agent.name for agent in Agent.objects.filter(paused_at=None)] == ["good"]


def test_list_keeps_the_filter_until_cleared(open_tab: Open, owner: User, project: Project) -> None:
    make_agent(project, "good"), make_agent(project, "bad", status="down")
    tab = open_tab(owner)
    page = tab.go(f"{LIST}?status=down")
    tab.go("/admin/")
    page.locator("nav, aside").get_by_role("link", name="Agents").first.click()
    tab.sees("1 of 2 agents")
    page.get_by_role("link", name="Clear").click()
    page.get_by_role("link", name="good").wait_for()
    assert page.url.endswith(LIST)


def test_list_search_by_keyboard(open_tab: Open, owner: User, project: Project) -> None:
    make_agent(project, "good"), make_agent(project, "bad", source="1/10.0.0.7")
    tab = open_tab(owner)
    page = tab.go(LIST)
    page.get_by_role("searchbox", name="Search names, aliases and hosts").focus()
    page.keyboard.type("10.0.0.7")
    page.keyboard.press("Enter")
    tab.sees("1 of 2 agents")
    expect(page.locator("#result_list tbody th a")).to_have_text(["bad"])


def test_open_filter_survives_polls(open_tab: Open, owner: User, project: Project) -> None:
    make_agent(project, "bot")
    page = open_tab(owner).go("/admin/")
    page.get_by_role("searchbox").fill("half a wo")
    with page.expect_response("**/admin/fleet/"):
        pass
    with page.expect_response("**/admin/fleet/"):
        pass
    assert page.get_by_role("searchbox").input_value() == "half a wo"
