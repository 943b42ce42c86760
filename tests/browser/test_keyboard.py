"""Around the pages with the keyboard alone, and what a screen reader is told."""

from __future__ import annotations

import re

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from agents.models import Incident
from teams.models import Project, User
from tests.agents.admin.conftest import make_agent, make_incident
from tests.browser.conftest import Open
from tests.browser.keyboard import Keyboard

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
# Icons are words in a font. Read aloud, "dock_to_right" is noise.
READ_ALOUD = """[...document.querySelectorAll('.material-symbols-outlined')]
    .filter((icon) => !icon.closest('[aria-hidden=true]') && icon.checkVisibility())
    .map((icon) => icon.textContent.trim())"""


def test_skip_link_leads_to_the_content(open_tab: Open, owner: User, project: Project) -> None:
    make_agent(project)
    tab = open_tab(owner)
    page = tab.go("/admin/")
    Keyboard(tab).skip_to_content()
    assert page.evaluate("document.activeElement.id") == "content"
    assert page.locator("main").count() == 1


def test_account_menu_by_keyboard(open_tab: Open, owner: User, project: Project) -> None:
    tab = open_tab(owner)
    hand, page = Keyboard(tab), tab.go("/admin/")
    account = re.compile(f".*{owner.email}")
    hand.follow(account)
    menu = page.locator("#account-menu")
    expect(menu).to_be_visible()
    hand.press("Escape")
    expect(menu).to_be_hidden()
    assert account.fullmatch(hand.hears)
    hand.press("Space")
    expect(menu).to_be_visible()
    assert tab.barriers() == []
    assert page.evaluate(READ_ALOUD) == []
    hand.press("Shift+Tab")
    assert hand.hears == "Sign out"
    hand.press("Enter")
    page.wait_for_url(f"{tab.base}/")


def test_side_bar_closes_and_opens(open_tab: Open, owner: User, project: Project) -> None:
    tab = open_tab(owner)
    hand, page = Keyboard(tab), tab.go("/admin/")
    entry = page.get_by_role("link", name="Incidents", exact=True)
    hand.follow("Side bar")
    expect(entry).to_be_hidden()
    hand.press("Space")
    expect(entry).to_be_visible()
    assert hand.hears == "Side bar"


@pytest.mark.parametrize(("width", "scheme"), [(640, "light"), (390, "dark")])
def test_navigation_opens_at_any_zoom(open_tab: Open, owner: User, project: Project, width: int, scheme: str) -> None:
    """640 pixels are a laptop's screen at 200 %."""
    tab = open_tab(owner, width, scheme)
    hand, page = Keyboard(tab), tab.go("/admin/")
    hand.follow("Open navigation")
    expect(page.get_by_role("link", name="Incidents", exact=True)).to_be_visible()
    assert hand.hears == "Close navigation"
    tab.picture(f"navigation-{width}-{scheme}", full_page=False)
    assert tab.barriers() == []
    hand.press("Escape")
    expect(page.get_by_role("link", name="Incidents", exact=True)).to_be_hidden()
    assert hand.hears == "Open navigation"
    hand.press("Enter")
    hand.follow("Incidents")
    page.wait_for_url("**/admin/agents/incident/")


def test_no_icon_name_is_read_aloud(open_tab: Open, owner: User, project: Project) -> None:
    incident = make_incident(make_agent(project))
    tab = open_tab(owner)
    for path in (
        "",
        "agents/agent/",
        f"agents/incident/{incident.pk}/change/",
        "alerts/channel/add/",
        "teams/project/",
    ):
        assert tab.go(f"/admin/{path}").evaluate(READ_ALOUD) == [], path


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_agents_tabs_by_keyboard(open_tab: Open, owner: User, project: Project, width: int, scheme: str) -> None:
    agent = make_incident(make_agent(project)).agent
    tab = open_tab(owner, width, scheme)
    hand, page = Keyboard(tab), tab.go(f"/admin/agents/agent/{agent.pk}/change/")
    hand.reach("Overview")
    for key, name in (("End", "Settings"), ("ArrowRight", "Overview"), ("ArrowRight", "History"), ("End", "Settings")):
        hand.press(key)
        assert hand.hears == name
        expect(page.get_by_role("tabpanel")).to_have_count(1)
        expect(page.get_by_role("tabpanel", name=name)).to_be_visible()
        tab.picture(f"agent-tab-{name.lower()}-{width}-{scheme}")
    assert page.url.endswith("#settings")
    assert tab.barriers() == []
    # A link into a panel opens it, from elsewhere and on the page.
    page.goto(f"{tab.base}/admin/agents/agent/{agent.pk}/change/#restarts")
    page.reload()
    expect(page.locator("#restarts")).to_be_in_viewport()
    page.evaluate("location.hash = 'commands'")
    expect(page.get_by_role("tabpanel", name="Restarts & stops")).to_be_visible()


def test_api_reference_is_readable(open_tab: Open, owner: User, project: Project) -> None:
    tab = open_tab(owner)
    page = tab.go("/api/docs")
    page.get_by_text("/api/v1/heartbeat", exact=True).first.wait_for()
    tab.picture("api-docs")
    assert sorted({re.sub(r">.*", ">", barrier) for barrier in tab.barriers()}) == []


def test_tab_shows_open_alarms(open_tab: Open, owner: User, project: Project) -> None:
    """In its title and icon, while another tab is in front; both follow the page's polls."""
    incident = make_incident(make_agent(project))
    page = open_tab(owner).go("/admin/")
    icon = page.locator('link[rel="icon"]')
    expect(page).to_have_title(re.compile(r"^\(1\) Fleet overview"))
    assert "icon-alarm" in str(icon.get_attribute("href"))
    Incident.objects.filter(pk=incident.pk).update(acknowledged_at=timezone.now(), acknowledged_by="ann@example.com")
    expect(page).to_have_title(re.compile(r"^Fleet overview"))
    assert "icon-alarm" not in str(icon.get_attribute("href"))


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_search_opens_by_shortcut(open_tab: Open, owner: User, project: Project, width: int, scheme: str) -> None:
    make_agent(project, "research-bot")
    tab = open_tab(owner, width, scheme)
    page = tab.go("/admin/agents/incident/")
    for shortcut in ("/", "Control+k"):
        page.keyboard.press(shortcut)
        expect(page.get_by_role("dialog", name="Search")).to_be_visible()
        page.keyboard.type("resea")
        page.locator("#found").get_by_text("research-bot").wait_for()
        tab.picture(f"search-{width}-{scheme}", full_page=False)
        assert tab.barriers() == []
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog", name="Search")).to_be_hidden()
    page.keyboard.press("/")
    page.keyboard.press("ArrowDown")
    # Results of the last letter may arrive while a person walks through the first ones.
    page.evaluate("htmx.ajax('GET', '/admin/find/?q=resea', '#found')")
    page.keyboard.press("Enter")
    page.wait_for_url("**/agents/agent/*/change/")
