"""A team's pages in a browser: a channel's test in place, what cannot be read, a name typed before all is gone."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from alerts.models import Channel, Delivery
from teams.models import Project, Team, User
from tests.browser.conftest import Open

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_channel_is_tested_routed_and_deleted(open_tab: Open, owner: User, project: Project) -> None:
    channel = Channel.objects.create(project=project, kind="email", name="On call", config={"to": ["a@example.com"]})
    tab = open_tab(owner, 390, "dark")
    page = tab.go(f"/admin/alerts/channel/{channel.pk}/change/")
    page.get_by_role("button", name="Send test").click()
    tab.sees("Check that it arrived.")
    assert page.url.endswith(f"/{channel.pk}/change/")
    with page.expect_response(lambda answer: "/live/now/" in answer.url):  # the result outlives a poll
        pass
    expect(page.locator(".w-tested")).to_contain_text("Last test")
    tab.picture("channel-tested")

    page.get_by_label("Only agents with labels").fill("production")
    page.get_by_role("button", name="Save").click()
    tab.sees("Line 1: use name=value")
    page.get_by_label("Only agents with labels").fill("env=production")
    page.get_by_role("button", name="Save").click()
    tab.sees("for agents with env=production")
    tab.go("/admin/alerts/channel/routes/")
    expect(page.locator(".w-badge", has_text="no channel")).to_have_count(2)

    tab.go(f"/admin/teams/team/{project.team_id}/delete/")
    tab.sees("Type Research to confirm")
    page.get_by_label("Type Research to confirm").fill("Research")
    page.get_by_role("button", name="Delete Research").click()
    page.wait_for_url("**/accounts/teams/")
    assert not Team.objects.active().exists()
    assert Delivery.objects.filter(event=None, state="sent").count() == 1
