"""`bin/run --demo`: within 90 seconds all failures are shown with their evidence, and the healthy agent has none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.browser.tab import SHORT, Tab, launch
from tests.flows.installation import PATIENCE, Installation, is_alive, slowdown, wait_until
from tests.live import create_project
from tests.services.site import Site
from watchdog_project import demo

pytestmark = [pytest.mark.live, pytest.mark.browser, pytest.mark.sqlite, pytest.mark.xdist_group("demo")]
OWNER = "owner@localhost"
WITHIN = 90.0
VERDICTS = {
    "demo-crashed": ("down", ["crash"]),
    "demo-hung": ("stalled", ["stalled"]),
    "demo-looping": ("warning", ["loop"]),
    "demo-overspending": ("warning", ["cost"]),
    "demo-waiting": ("waiting", []),
    "demo-healthy": ("ok", []),
}
# What a person reads about each.
WORDS = {
    "demo-crashed": ["KeyError", "title"],
    "demo-hung": ["No progress for", "fetch_page"],
    "demo-looping": ["search_docs(query=release notes)", "same result"],
    "demo-overspending": ["of $2.00 today"],
}


def verdicts(site: Site) -> dict[str, tuple[str, list[str]]]:
    """Each agent's status, and the kinds of its open incident."""
    found = {incident["agent"]["name"]: incident["kinds"] for incident in listed(site, "incidents?state=open")}
    return {agent["name"]: (agent["status"], found.get(agent["name"], [])) for agent in listed(site, "status")}


def listed(site: Site, path: str) -> list[Any]:
    found: list[Any] = site.call(path)[1]["results"]
    return found


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The demo 90 seconds after its start, or as soon as all verdicts are right."""
    folder = tmp_path_factory.mktemp("demo")
    installation = Installation(folder / "data", "--demo", "--quiet")
    try:
        installation.start()
        end = time.monotonic() + WITHIN * slowdown()
        made = create_project(installation, OWNER, "full", demo.TEAM, demo.PROJECT)
        site = Site(installation, made["api_key"], folder)
        while verdicts(site) != VERDICTS and time.monotonic() < end:
            time.sleep(1)
        yield site
    finally:
        installation.stop()


@pytest.fixture(scope="module")
def page(shown: Site) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = launch(playwright)
        tab = Tab(browser.new_page(viewport={"width": 1280, "height": SHORT}), shown.running.url)
        tab.page.set_default_timeout(PATIENCE * 1000)
        tab.page.goto(shown.running.sign_in_url)
        tab.page.get_by_role("button").last.click()
        yield tab.page
        browser.close()


def test_every_failure_is_detected(shown: Site) -> None:
    assert verdicts(shown) == VERDICTS
    incidents = listed(shown, "incidents")
    assert sorted(one["agent"]["name"] for one in incidents) == sorted(WORDS)


@pytest.mark.parametrize("name", WORDS)
def test_incident_page_shows_the_evidence(shown: Site, page: Page, name: str) -> None:
    fleet = f"{shown.url}/admin/"
    page.goto(fleet)
    page.get_by_role("link", name=f"{name}:").first.click()
    page.wait_for_url("**/incident/*/change/**")
    text = page.locator("body").inner_text()
    assert [word for word in WORDS[name] if word not in text] == []


def test_healthy_and_waiting_agents_are_listed(shown: Site, page: Page) -> None:
    page.goto(f"{shown.url}/admin/agents/agent/?status=ok")
    assert "demo-healthy" in page.locator("body").inner_text()
    page.goto(f"{shown.url}/admin/agents/agent/?status=waiting")
    page.get_by_role("link", name="demo-waiting").click()
    page.wait_for_url("**/agent/*/change/**")
    assert "approval of a refund of $120" in page.locator("body").inner_text()


def test_hung_agent_is_restarted_from_its_page(shown: Site, page: Page) -> None:
    page.goto(f"{shown.url}/admin/agents/agent/?q=demo-hung")
    page.get_by_role("link", name="demo-hung").click()
    page.get_by_role("link", name="Restart…").click()
    page.get_by_role("button", name="Restart demo-hung").click()
    shown.until("demo-hung", "ok")
    wait_until(
        lambda: not [one for one in listed(shown, "incidents?state=open") if one["agent"]["name"] == "demo-hung"],
        "its incident is resolved",
    )


def test_demo_stops_cleanly(shown: Site) -> None:
    """Runs last, because it stops the installation."""
    everything = shown.running.pids()
    assert len(everything) >= 4 + 5
    assert shown.running.stop() < 10 * slowdown()
    wait_until(lambda: not any(is_alive(pid) for pid in everything), "all processes are gone")
    shown.running.start()
    assert shown.call("status")[0] == 401, "keys of an earlier demo are revoked"
    again = create_project(shown.running, OWNER, "full", demo.TEAM, demo.PROJECT)
    Site(shown.running, again["api_key"], shown.folder).until("demo-healthy", "ok")
