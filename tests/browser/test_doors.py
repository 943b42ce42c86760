"""From opening a door's page to its green light, without its program: what the page shows is enough."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from agents.doors.setup import setups
from agents.ingest import committer
from agents.models import IncomingWebhook
from billing.services import set_plan
from teams.models import Project, User
from tests.browser import senders
from tests.browser.conftest import Open

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
WEBHOOKS = {"github": "deployment_status", "gitlab": "deployment", "alertmanager": "", "sentry": "event_alert"}
CLIENT_SECRET = "sentry-makes-this-secret-0123456789"


def test_every_door_has_a_sender() -> None:
    assert set(senders.DOORS) == {door.key for door in setups("KEY", "http://h", "bot")}
    assert set(WEBHOOKS) == set(IncomingWebhook.Kind.values)


def test_each_door_turns_green(open_tab: Open, owner: User, project: Project, tmp_path: Path) -> None:
    set_plan(team=project.team, plan="enterprise", actor="test")
    tab = open_tab(owner)
    for number, (door, send) in enumerate(senders.DOORS.items()):
        began = time.monotonic()
        page = tab.go("/admin/first-steps/")
        if number:
            page.get_by_role("button", name="Create another key").click()
        expect(page.locator("#new-key")).to_be_visible()
        page.locator(f"#tab-{door}").click()
        send(page.locator(f"#{door}-setup").inner_text(), tmp_path)
        expect(page.locator("#beat")).to_contain_text("is reporting")
        print(f"{door}: green after {time.monotonic() - began:.1f} s")
    committer.close()


def test_each_webhook_turns_green(open_tab: Open, owner: User, project: Project) -> None:
    tab = open_tab(owner)
    for kind, event in WEBHOOKS.items():
        began = time.monotonic()
        page = tab.go("/admin/agents/incomingwebhook/add/")
        fill(page, kind)
        senders.signed(kind, event, page.locator("#webhook-setup").inner_text(), CLIENT_SECRET)
        expect(page.locator("#webhook-now [role=status]")).to_contain_text("Working")
        print(f"{kind}: green after {time.monotonic() - began:.1f} s")


def fill(page: Page, kind: str) -> None:
    page.get_by_label("Sender").select_option(kind)
    page.get_by_label("Name").fill("acme/bot")
    if kind == "sentry":
        page.get_by_label("Secret").fill(CLIENT_SECRET)
    page.get_by_role("button", name="Save").click()
    page.locator("#webhook-setup").wait_for()
