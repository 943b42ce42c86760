"""Under the strict content policy, everything that opens still opens: menus, filters, dialogs, date pickers."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from playwright.sync_api import Page, expect

from teams.models import Project, User
from tests.browser.conftest import Open
from tests.browser.tab import Tab
from tests.browser.test_live_pages import make_fleet

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
# The console has a line for a violation, but not always which one.
LISTEN = """document.addEventListener('securitypolicyviolation',
  (found) => console.error(`${found.violatedDirective}: ${found.blockedURI} ${found.sourceFile} ${found.sample}`))"""
# What opens something and sends nothing.
OPENERS = "button:not([type=submit]):visible, summary:visible, [aria-haspopup]:visible, [aria-expanded]:visible"
PICKERS = "input.vDateField:visible, input.vTimeField:visible, input[type=datetime-local]:visible, select:visible"


def open_all(page: Page) -> int:
    """Click everything that opens something, and close it again. Returns how many there were."""
    openers, clicked = page.locator(OPENERS), 0
    for index in range(openers.count()):
        opener = openers.nth(index)
        if opener.is_visible() and opener.is_enabled():
            # Not by the mouse: a menu that is open may lie over the next one.
            opener.dispatch_event("click")
            page.keyboard.press("Escape")
            clicked += 1
    pickers = page.locator(PICKERS)
    for index in range(pickers.count()):
        if pickers.nth(index).is_enabled():
            pickers.nth(index).focus()
            page.keyboard.press("ArrowDown")
            page.keyboard.press("Escape")
            clicked += 1
    return clicked


def listening(tab: Tab) -> Tab:
    tab.page.add_init_script(LISTEN)
    return tab


def test_everything_opens(open_tab: Open, operator: User, project: Project, api_key: str) -> None:
    incident = make_fleet(project)
    lists = [f"/admin/{model._meta.label_lower.replace('.', '/')}/" for model in admin.site._registry]
    rows = [f"/admin/agents/agent/{incident.agent_id}/change/", f"/admin/agents/incident/{incident.pk}/change/"]
    forms = ["/admin/agents/maintenance/add/", "/admin/alerts/channel/add/", "/admin/first-steps/", "/admin/"]
    tab, opened = listening(open_tab(operator)), 0
    for path in (*lists, *rows, *forms):
        tab.go(path)
        opened += open_all(tab.page)
        assert tab.complaints == [], path
    assert opened > 3 * len(lists)


def test_api_reference_tries_a_request(open_tab: Open, owner: User, full_key: str) -> None:
    tab = listening(open_tab(owner))
    page: Any = tab.go("/api/docs")
    page.locator("#operations-agents-status, [id^=operations-] >> nth=0").first.wait_for()
    page.get_by_role("button", name="Authorize").first.click()
    page.locator(".auth-container input").first.fill(full_key)
    page.locator(".auth-btn-wrapper .authorize").click()
    page.locator(".auth-btn-wrapper .btn-done").click()
    operation = page.locator(".opblock-get").first
    operation.locator(".opblock-summary").click()
    operation.locator(".try-out__btn").click()
    operation.locator(".execute").click()
    expect(operation.locator(".live-responses-table .response-col_status")).to_contain_text("200")
