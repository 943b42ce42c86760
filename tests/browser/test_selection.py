"""Selecting agents on a live page, and bulk actions, by keyboard alone."""

from __future__ import annotations

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from agents.models import Agent, AgentState, Maintenance
from teams.models import Project, User
from tests.agents.admin.conftest import make_agent
from tests.browser.conftest import Open

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def paused() -> int:
    return Agent.objects.filter(paused_at__isnull=False).count()


def test_selection_survives_polls_and_is_paused(open_tab: Open, owner: User, project: Project) -> None:
    for n in range(27):
        make_agent(project, f"down-{n:02}", status="down")
    tab = open_tab(owner)
    page = tab.go("/admin/")
    bar = page.locator("#selection")
    assert bar.get_by_role("button", name="Pause monitoring").is_disabled()
    for name in ("down-00", "down-03"):
        page.get_by_label(f"Select {name}").focus()
        page.keyboard.press("Space")
    AgentState.objects.filter(agent__name="down-00").update(status="ok")
    tab.sees("2 selected, 1 not shown in the table")
    AgentState.objects.filter(agent__name="down-00").update(status="down")
    bar.get_by_text("2 selected", exact=True).wait_for()
    assert page.get_by_label("Select down-00").is_checked()
    assert page.get_by_label("Select down-03").evaluate("box => box === document.activeElement")
    bottom = bar.bounding_box()
    assert bottom is not None
    assert bottom["y"] + bottom["height"] <= 800
    assert tab.barriers() == []
    AgentState.objects.filter(agent__name="down-00").update(status="ok")
    tab.sees("2 selected, 1 not shown in the table")
    for key in ("Enter", "Tab", "Tab", "Enter"):
        page.keyboard.press(key)
    tab.sees("Schedule maintenance for 2 agents")
    expect(page.locator(".w-whom li")).to_have_text(["down-00", "down-03"])
    assert tab.barriers() == []
    page.get_by_role("radio", name="1 hour").focus()
    page.keyboard.press("ArrowUp")
    page.get_by_label("Reason").fill("new disks")
    page.keyboard.press("Enter")
    tab.sees("2 agents are in maintenance until")
    assert page.url == f"{tab.base}/admin/"
    window = Maintenance.objects.get()
    assert window.agent_names == ["down-00", "down-03"]
    assert 28 * 60 < (window.ends_at - timezone.now()).total_seconds() <= 30 * 60


def test_select_all_on_a_phone_and_in_the_list(open_tab: Open, owner: User, project: Project) -> None:
    for n in range(27):
        make_agent(project, f"down-{n:02}", status="down")
    tab = open_tab(owner, 390, "dark")
    page = tab.go("/admin/")
    page.get_by_role("button", name="Select all 25 shown").click()
    tab.sees("25 selected")
    page.get_by_role("button", name="Select all 27").click()
    tab.sees("All 27 selected")
    tab.picture("selection-390-dark", full_page=False)
    page.get_by_role("button", name="Pause monitoring…", exact=True).click()
    tab.sees("Pause monitoring of 27 agents?")
    assert tab.barriers() == []
    page.get_by_role("button", name="Pause monitoring", exact=True).click()
    tab.sees("Monitoring paused for 27 agents.")
    assert paused() == 27
    tab.go("/admin/agents/agent/?q=down")
    for name in ("down-01", "down-04"):
        page.get_by_label(f"Select {name}").check()
    page.get_by_role("button", name="Resume monitoring", exact=True).click()
    tab.sees("Monitoring resumed for 2 agents.")
    assert page.url.endswith("?q=down")
    assert paused() == 25
