"""The journeys of a person without a mouse: each step with Tab, Enter, Space, arrows and Escape."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from allauth.mfa.totp.internal.auth import TOTP
from django.core import mail
from django.utils import timezone
from playwright.sync_api import Browser, expect

from agents.models import Incident
from agents.review import review
from alerts.models import Channel
from teams.models import ApiKey, Invitation, Project, SavedView, User
from tests.agents.admin.conftest import make_agent, make_incident
from tests.authenticator import code_of
from tests.browser.conftest import Open, send_beat
from tests.browser.keyboard import Keyboard
from tests.browser.tab import SHORT, Tab
from tests.browser.test_two_am import ask, fall_silent

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
PASSWORD = "correct horse battery"
SEED = "ABCDEFGHIJKLMNOP"


@pytest.fixture
def nobody(chromium: Browser, server: str) -> Iterator[Tab]:
    """A browser in which nobody is signed in."""
    context = chromium.new_context(viewport={"width": 1280, "height": SHORT}, reduced_motion="reduce")
    tab = Tab(context.new_page(), server)
    yield tab
    context.close()
    assert (tab.complaints, tab.elsewhere) == ([], [])


def test_sign_up_to_the_first_alert(nobody: Tab, server: str) -> None:
    """From the landing page to the first heartbeat and a test alert."""
    hand, page = Keyboard(nobody), nobody.go("/")
    hand.follow("Sign up")
    page.wait_for_url("**/signup/")
    hand.fill(E_mail="newcomer@example.com", Password="a long walk by the sea", Team_name="Night shift")
    hand.press("Enter")
    nobody.sees("Check your e-mail")
    code = re.search(r"^[A-Z0-9]{3,5}-?[A-Z0-9]{3,5}$", str(mail.outbox[-1].body), re.MULTILINE)
    assert code
    hand.fill(Code=code.group())
    hand.press("Enter")
    page.wait_for_url("**/first-steps/**")
    page.locator("#new-key").wait_for()
    hand.skip_to_content()
    hand.follow("Copy the key")
    key = page.locator("#new-key").inner_text()
    assert send_beat(server, key) == 200
    nobody.sees("my-agent is reporting")
    hand.follow("Send test alert")
    nobody.sees("Test sent to E-mail")
    assert hand.hears == "Test sent to E-mail", "the outcome has the focus"
    review.sweep(timezone.now())
    hand.follow("Go to fleet")
    nobody.sees("All agents OK")


def test_sign_in_with_a_second_factor(nobody: Tab, owner: User, project: Project) -> None:
    TOTP.activate(owner, SEED)
    hand, page = Keyboard(nobody), nobody.go("/accounts/login/?next=/admin/agents/incident/")
    hand.fill(E_mail=owner.email, Password=PASSWORD)
    hand.press("Enter")
    nobody.sees("Enter the code from your authenticator app")
    hand.fill(Code=code_of(SEED))
    hand.press("Enter")
    page.wait_for_url("**/admin/agents/incident/")


def test_incident_is_handled_by_keyboard(open_tab: Open, owner: User, project: Project) -> None:
    """From the fleet to a pause of an hour and back."""
    make_incident(make_agent(project))
    tab = open_tab(owner)
    hand, _ = Keyboard(tab), tab.go("/admin/")
    hand.follow("bot: No progress for 47 minutes", to="**/incident/*/change/")
    hand.follow("Acknowledge", to="Acknowledged. Your team can see")
    hand.follow("Pause monitoring…", to="For 1 hour, until")
    hand.follow("Pause monitoring", to="is paused until")
    hand.follow("Resume monitoring", to="Monitoring of bot resumed.")


def test_restart_is_pressed_and_proven(
    open_tab: Open, server: str, owner: User, project: Project, api_key: str
) -> None:
    """From the fleet to the restart; the incident ends with the agent's progress, not with its first heartbeat."""
    fall_silent(server, api_key)
    tab = open_tab(owner)
    hand, page = Keyboard(tab), tab.go("/admin/")
    hand.follow(re.compile("night-shift: No heartbeat for .+"), to="**/incident/*/change/")
    hand.follow("Restart…", to="The runner will restart systemd:night-shift.service")
    hand.follow("Restart night-shift", to="requested: waiting for the runner")
    (command,) = ask(server, api_key, "commands")
    ask(server, api_key, f"commands/{command['id']}/result", {"status": "completed", "message": "active again"})
    assert send_beat(server, api_key, agent="night-shift", instance="2") == 200
    review.sweep(timezone.now())
    tab.sees("Restarted once: no progress since.")
    assert send_beat(server, api_key, agent="night-shift", instance="2", progress=True) == 200
    review.sweep(timezone.now())
    tab.sees("after the restart")
    expect(page.locator("#incident-now .w-head .w-badge")).to_contain_text("resolved")


def test_channel_is_added_and_tested(open_tab: Open, owner: User, project: Project) -> None:
    tab = open_tab(owner)
    hand, page = Keyboard(tab), tab.go("/admin/alerts/channel/")
    hand.follow("Add a channel", to="**/channel/add/")
    hand.reach(re.compile("Kind.*"))
    page.keyboard.type("E-mail")
    hand.reach(re.compile("Name.*"))
    page.keyboard.type("On call")
    hand.reach(re.compile("E-mail addresses.*"))
    page.keyboard.type("on-call@example.com")
    hand.follow("Save", to="On call was created")
    hand.follow("Send test", to="Check that it arrived.")
    assert hand.hears == "Send test", "the focus stays where it was"
    assert Channel.objects.get().config == {"to": ["on-call@example.com"]}


def test_key_is_made_and_rotated(open_tab: Open, owner: User, project: Project) -> None:
    tab = open_tab(owner)
    hand, page = Keyboard(tab), tab.go("/admin/teams/apikey/add/")
    hand.reach(re.compile("Name.*"))
    page.keyboard.type("night shift")
    hand.follow("Save", to="You won’t see it again")
    hand.skip_to_content()
    hand.follow("Copy the key")
    hand.follow("I’ve copied it", to="**/teams/apikey/")
    hand.follow("night shift", to="**/apikey/*/change/")
    hand.skip_to_content()
    hand.follow("Rotate…", to="**/rotate**")
    hand.reach(re.compile("24 hours"))
    hand.press("ArrowUp")
    assert hand.hears == "1 hour"
    hand.follow("Create new key", to="The old key expires on")
    assert ApiKey.objects.filter(name="night shift").count() == 2


def test_person_is_invited(open_tab: Open, owner: User, project: Project) -> None:
    tab = open_tab(owner)
    hand, page = Keyboard(tab), tab.go("/admin/teams/invitation/")
    hand.follow("Invite someone", to="**/invitation/add/")
    hand.reach(re.compile("E-mail.*"))
    page.keyboard.type("new@example.com")
    hand.reach(re.compile("Member:.*"))
    hand.press("ArrowDown")
    assert hand.hears.startswith("Viewer:")
    hand.follow("Save", to="You can also share this link yourself.")
    assert Invitation.objects.get().role == "viewer"
    hand.follow("View members", to="new@example.com")


def test_fleet_is_sorted_saved_and_acknowledged(open_tab: Open, owner: User, project: Project) -> None:
    for name in ("apple", "berry"):
        make_incident(make_agent(project, name))
    tab = open_tab(owner)
    hand, page = Keyboard(tab), tab.go("/admin/agents/agent/")
    hand.follow("Agent")
    page.wait_for_url("**o=name**")
    hand.follow("Views")
    hand.reach(re.compile("Save .* as"))
    page.keyboard.type("By name")
    hand.press("Enter")
    expect(page.get_by_role("navigation", name="Saved views").get_by_role("link", name="By name")).to_be_visible()
    assert SavedView.objects.get().query == "o=name"

    tab.go("/admin/agents/incident/")
    hand.reach(re.compile("Select all.*"))
    hand.press("Space")
    hand.reach("Select action to run")
    page.keyboard.type("Acknowledge")
    hand.follow("Run")
    expect(page.locator("#incidents .w-badge", has_text="acknowledged")).to_have_count(2)
    assert not Incident.objects.filter(acknowledged_at=None).exists()


def test_search_returns_the_focus(open_tab: Open, owner: User, project: Project) -> None:
    make_agent(project, "research-bot")
    tab = open_tab(owner)
    hand, page = Keyboard(tab), tab.go("/admin/")
    hand.reach("Search Ctrl K")
    hand.press("Enter")
    expect(page.get_by_role("dialog", name="Search")).to_be_visible()
    hand.press("Escape")
    assert hand.hears == "Search Ctrl K"
    hand.press("Control+k")
    page.keyboard.type("resea")
    page.locator("#found").get_by_text("research-bot").wait_for()
    hand.press("Tab", "Enter")
    assert hand.hears == "Search Ctrl K", "closed by its button"


def test_documentation_is_searched(open_tab: Open, owner: User, project: Project) -> None:
    tab = open_tab(owner)
    hand, page = Keyboard(tab), tab.go("/docs/")
    hand.reach("Search the documentation")
    page.keyboard.type("pause monitoring")
    hand.press("Enter")
    tab.sees("results for")
    hand.follow(re.compile(".*Pause.*|.*pause.*"))
    page.wait_for_url(re.compile(r"/docs/.+#"))
    assert page.evaluate("document.querySelector(':target') !== null")


def test_phone_at_twice_the_size(open_tab: Open, owner: User, project: Project) -> None:
    """390 pixels, and 200 % on top: the menu, and from the incident to its acknowledgement."""
    make_incident(make_agent(project))
    tab = open_tab(owner, 390, "dark")
    hand, page = Keyboard(tab), tab.go("/admin/")
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    hand.follow("Open navigation")
    assert hand.hears == "Close navigation"
    hand.follow("Incidents")
    page.wait_for_url("**/admin/agents/incident/")
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    hand.follow("No progress for 47 minutes", to="**/incident/*/change/")
    hand.follow("Acknowledge", to="Acknowledged. Your team can see")
