"""The documentation in Chromium: wide and light, narrow and dark."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.browser.tab import SHORT, SIZES, TALL, Tab
from watchdog_project.documentation_views import library

# One of each sort: with pictures, long tables, long code, term anchors.
SHOWN = ("", "rules", "channels", "glossary", "run-with-systemd")
pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture(params=SIZES, ids=str)
def tab(chromium: Browser, server: str, request: pytest.FixtureRequest) -> Iterator[Tab]:
    width, scheme = request.param
    size: Any = {"width": width, "height": TALL if width < 600 else SHORT}
    context = chromium.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce")
    tab = Tab(context.new_page(), server)
    yield tab
    context.close()
    assert (tab.complaints, tab.elsewhere) == ([], [])


def test_pages_are_accessible(tab: Tab) -> None:
    found: dict[str, list[str]] = {}
    for slug in SHOWN:
        page = tab.go(library().pages[slug].url)
        barriers = tab.barriers()
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            barriers.append("scrolls sideways")
        if barriers:
            found[slug] = barriers
        tab.picture(f"docs-{slug or 'index'}-{page.evaluate('innerWidth')}")
    assert found == {}


def test_code_can_be_copied(tab: Tab) -> None:
    page = tab.go("/docs/")
    page.get_by_role("button", name="Copy this code").first.click()
    page.get_by_text("Copied").or_(page.get_by_text("Press Ctrl+C")).wait_for()


def test_images_load_in_the_readers_scheme(tab: Tab) -> None:
    page = tab.go("/docs/channels/")
    image = page.locator(".shot img").first
    image.scroll_into_view_if_needed()
    tab.until("document.querySelector('.shot img').complete")
    assert image.evaluate("one => one.naturalWidth") > 0
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert image.evaluate("one => one.currentSrc").endswith("-dark.png") == dark


def test_search_leads_to_the_glossary_term(tab: Tab) -> None:
    page = tab.go("/docs/")
    page.get_by_label("Search the documentation").fill("grace period")
    page.get_by_role("button", name="Search").click()
    tab.picture(f"docs-search-{page.evaluate('innerWidth')}")
    assert tab.barriers() == []
    page.get_by_role("link", name="Glossary › Grace period").click()
    page.wait_for_url("**/docs/glossary/#grace-period")
    assert page.locator("tr:target").inner_text().startswith("Grace period")
