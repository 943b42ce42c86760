"""Pages that need nobody to be signed in, as everybody sees them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Browser

from agents.models import Agent, Signal
from teams.models import Project, User
from tests.browser.conftest import Open
from tests.browser.tab import SHORT, SIZES, TALL, Tab
from tests.browser.test_live_pages import make_fleet

SCHEME = "matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'"
pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def tab(chromium: Browser, server: str, request: pytest.FixtureRequest) -> Iterator[Tab]:
    width, scheme = request.param
    size: Any = {"width": width, "height": TALL if width < 600 else SHORT}
    context = chromium.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce")
    tab = Tab(context.new_page(), server)
    yield tab
    context.close()
    assert (tab.complaints, tab.elsewhere) == ([], [])


@pytest.mark.parametrize("tab", SIZES, indirect=True, ids=str)
def test_status_page_is_accessible(tab: Tab, project: Project) -> None:
    Project.objects.update(status_page="named", status_address="research")
    incident = make_fleet(project)
    Agent.objects.update(created_at=timezone.now() - timedelta(days=40))
    day = timezone.now() - timedelta(days=12)
    crash: Any = {"kind": "crash", "severity": "critical", "reason": "Crashed", "evidence": {"message": "x"}}
    span = {"started_at": day, "opened_at": day, "cleared_at": day + timedelta(hours=5)}
    Signal.objects.create(incident=incident, agent=incident.agent, **crash, **span)
    page = tab.go("/status/research/")
    tab.sees("2 of 7 agents have problems")
    tab.picture(f"status-{page.evaluate('innerWidth')}-{page.evaluate(SCHEME)}")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert tab.barriers() == []


@pytest.mark.parametrize("tab", [SIZES[0]], indirect=True, ids=str)
def test_status_page_updates_live(tab: Tab, project: Project) -> None:
    Project.objects.update(status_page="named", status_address="research")
    make_fleet(project)
    page = tab.page
    page.clock.install()
    tab.go("/status/research/")
    Agent.objects.filter(name="crawler").delete()
    page.clock.fast_forward(31_000)
    tab.sees("1 of 6 agents has problems")


@pytest.mark.parametrize("tab", [(1280, "light")], indirect=True, ids=str)
def test_landing_page_explains_in_one_screen(tab: Tab, project: Project) -> None:
    page = tab.go("/")
    for name in ("h1", ".lead", ".fleet", ".lines", ".points"):
        box = page.locator(f".landing {name}").bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= SHORT, name
    moving = "document.getAnimations().filter(one => one.playState === 'running').length"
    assert page.evaluate(moving) == 0, "nothing moves for who wants no motion"
    page.emulate_media(reduced_motion="no-preference")
    assert page.evaluate(moving) > 5
    page.get_by_label("Stop animation").check()
    assert page.evaluate(moving) == 0
    tab.go("/accounts/login/")
    for name in ("Skip to content", "ClevAgent Watchdog", "Sign in", "Sign up", "Sign up"):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == name
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", name
    page.get_by_label("Password", exact=True).fill("a long walk")
    page.get_by_role("button", name="Show password").click()
    assert page.get_by_label("Password", exact=True).get_attribute("type") == "text"


@pytest.mark.parametrize("tab", SIZES, indirect=True, ids=str)
@pytest.mark.parametrize("path", ["/", "/accounts/login/", "/accounts/signup/"])
def test_account_pages_are_accessible(tab: Tab, project: Project, path: str) -> None:
    page = tab.go(path)
    tab.picture(f"door{path.replace('/', '-')}{page.evaluate('innerWidth')}-{page.evaluate(SCHEME)}")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert tab.barriers() == []


def test_badge_markdown_can_be_copied(open_tab: Open, owner: User, project: Project) -> None:
    Project.objects.update(status_page="secret", status_address="AbCdEfGhIjKlMnOpQrStUvWx")
    make_fleet(project)
    tab = open_tab(owner, 390)
    page = tab.go(f"/admin/teams/project/{project.pk}/change/")
    badge = page.locator(".w-badges details").first
    badge.locator("summary").click()
    badge.get_by_label("Copy the Markdown").click()
    tab.sees("Copied")
    assert badge.locator("img").evaluate("img => img.decode().then(() => img.naturalWidth)") > 50
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert tab.barriers() == []
