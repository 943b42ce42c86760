"""Backtests: by keyboard, without JavaScript, in both color schemes and sizes."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from agents.models import Agent
from teams.models import Project, User
from tests.agents.admin.conftest import make_agent, make_incident
from tests.agents.admin.test_backtests import make_loop, try_page
from tests.browser.conftest import Open
from tests.browser.tab import SIZES

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def looped(project: Project) -> Agent:
    agent = make_agent(project)
    make_loop(agent, minutes=180)
    make_incident(agent)
    return agent


def test_backtest_and_apply_by_keyboard(open_tab: Open, owner: User, looped: Agent) -> None:
    tab = open_tab(owner)
    page = tab.go(f"/admin/agents/agent/{looped.pk}/change/#settings")
    page.get_by_role("link", name="Backtest rules").focus()
    page.keyboard.press("Enter")
    page.get_by_label("Repeats").fill("5")
    page.get_by_role("button", name="Run backtest", exact=True).focus()
    page.keyboard.press("Enter")
    tab.sees("Would have fired once")
    page.get_by_role("button", name="Use these thresholds").focus()
    page.keyboard.press("Enter")
    tab.sees("now uses these thresholds for the rule loop")
    looped.refresh_from_db()
    assert looped.rules == {"loop": {"repeats": 5}}


def test_backtest_works_without_javascript(open_tab: Open, chromium: Browser, owner: User, looped: Agent) -> None:
    tab = open_tab(owner)
    context = chromium.new_context(java_script_enabled=False)
    context.add_cookies(tab.page.context.cookies())  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(tab.base + try_page(looped))
    page.get_by_role("link", name="Stalled").click()
    page.get_by_label("Progress timeout").fill("60")
    page.get_by_role("button", name="Run backtest", exact=True).click()
    expect(page.get_by_role("heading", name="have fired", level=2)).to_have_count(1)
    page.get_by_role("button", name="Use these thresholds").click()
    expect(page.get_by_text("now uses these thresholds for the rule stalled")).to_be_visible()
    looped.refresh_from_db()
    assert looped.progress_timeout == 60
    context.close()


@pytest.mark.parametrize(("width", "scheme"), SIZES)
def test_backtest_layout(open_tab: Open, owner: User, looped: Agent, width: int, scheme: str) -> None:
    tab = open_tab(owner, width, scheme)
    page = tab.go(try_page(looped, "?rule=loop&hours=6&repeats=5"))
    page.locator(".w-fired").first.wait_for()
    tab.picture(f"try-{width}-{scheme}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("h1").count() == 1
    assert page.locator(".w-lanes rect.w-fired").bounding_box()["width"] >= 2  # type: ignore[index]


@pytest.mark.parametrize("width", [1280, 390])
def test_project_backtest_layout(open_tab: Open, owner: User, project: Project, looped: Agent, width: int) -> None:
    make_loop(make_agent(project, "second-agent"))
    tab = open_tab(owner, width)
    page = tab.go(f"/admin/teams/project/{project.pk}/try/?hours=6&repeats=5")
    tab.sees("Would have fired 2 times")
    tab.picture(f"try-project-{width}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [1280, 390])
def test_agent_rules_layout(open_tab: Open, owner: User, looped: Agent, width: int) -> None:
    tab = open_tab(owner, width)
    page = tab.go(f"/admin/agents/agent/{looped.pk}/change/#settings")
    page.locator("#rule-loop > summary").click()
    page.get_by_label("Repeats").wait_for()
    tab.picture(f"rules-{width}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
