"""Under a policy that evaluates no script, each part of the frame still works: a refusal is a complaint of the tab."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from teams.models import Project, User
from tests.agents.admin.conftest import make_agent
from tests.browser.conftest import Open

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_frame_works_without_eval(open_tab: Open, owner: User, project: Project) -> None:
    make_agent(project)
    page = open_tab(owner).go("/admin/agents/agent/")
    assert "unsafe-eval" not in (page.request.get(page.url).headers["content-security-policy"])
    assert page.evaluate("Alpine.version") == "3.17.4"
    _theme(page, owner)
    _side_bar(page)
    _channel_form(page)


def _theme(page: Page, owner: User) -> None:
    page.get_by_role("button", name=owner.email).click()
    page.locator("#account-menu").get_by_role("button").nth(1).click()
    expect(page.locator("html")).to_have_class("dark")
    page.reload()
    expect(page.locator("html")).to_have_class("dark")
    page.get_by_role("button", name=owner.email).click()
    page.mouse.click(900, 400)
    expect(page.locator("#account-menu")).to_be_hidden()


def _side_bar(page: Page) -> None:
    button = page.get_by_role("button", name="Side bar")
    button.click()
    expect(button).to_have_attribute("aria-expanded", "false")
    page.reload()
    expect(button).to_have_attribute("aria-expanded", "false")
    expect(page.get_by_role("link", name="Incidents", exact=True)).to_be_hidden()
    button.click()
    expect(page.get_by_role("link", name="Incidents", exact=True)).to_be_visible()


def _channel_form(page: Page) -> None:
    """Fields appear with the kind they belong to."""
    page.goto(page.url.replace("agents/agent/", "alerts/channel/add/"))
    page.locator("[name=kind]").select_option("telegram")
    expect(page.locator("[name=telegram_chat]")).to_be_visible()
    expect(page.locator("[name=webhook_url]")).to_be_hidden()
    page.locator("[name=kind]").select_option("webhook")
    expect(page.locator("[name=webhook_url]")).to_be_visible()
    form = page.locator("form[id=channel_form]")
    expect(form).to_have_attribute("action", "/admin/alerts/channel/add/")
